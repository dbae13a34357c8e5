// A second click must not send a form again, in console and admin.

const RESEND_MS = 5000; // the page is still there after a download, or if its loading was stopped

// On the window: scripts that send a form themselves come first.
window.addEventListener("submit", (event) => {
  const form = event.target;
  // Not form.method: a form can have a field of this name.
  const method = event.submitter?.formMethod || form.getAttribute("method");
  if (event.defaultPrevented || method?.toLowerCase() !== "post") return;
  if (form.hasAttribute("aria-busy")) {
    event.preventDefault();
    return;
  }
  form.setAttribute("aria-busy", "true");
  setTimeout(() => form.removeAttribute("aria-busy"), RESEND_MS);
});
