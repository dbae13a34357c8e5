// Functions that the scripts of all pages share. Without effects of its own: with hashed names of static files,
// a page can load this module twice.

/** Say something to screen readers, politely. */
export function announce(text) {
  document.getElementById("announcements").textContent = text;
}

/** Return the value of a cookie, or "". */
export function cookie(name) {
  const pair = document.cookie.split("; ").find((entry) => entry.startsWith(`${name}=`));
  return pair ? decodeURIComponent(pair.slice(name.length + 1)) : "";
}

/** Return the CSRF token of the page's forms. */
export function csrfToken() {
  return document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? cookie("csrftoken");
}
