// The API reference: Swagger UI on the chosen document, in the theme of the page.

const place = document.getElementById("reference");
const links = [...document.querySelectorAll("[data-document]")];
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function currentLink() {
  const name = new URLSearchParams(location.search).get("document");
  return links.find((link) => new URL(link.href).searchParams.get("document") === name) ?? links[0];
}

function show(link) {
  for (const other of links) {
    if (other === link) other.setAttribute("aria-current", "page");
    else other.removeAttribute("aria-current");
  }
  place.replaceChildren();
  window.SwaggerUIBundle({
    domNode: place,
    url: link.dataset.document,
    deepLinking: true,
    docExpansion: "list",
    filter: true,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    validatorUrl: null, // documents go to no other host
    persistAuthorization: false, // keys are never stored
    withCredentials: true,
    requestInterceptor: (request) => {
      const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/);
      if (token && !/^(GET|HEAD)$/i.test(request.method ?? "GET")) request.headers["X-CSRFToken"] = token[1];
      return request;
    },
  });
}

function applyTheme() {
  const theme = document.documentElement.dataset.theme;
  document.documentElement.classList.toggle("dark-mode", theme === "dark" || (theme === "system" && dark.matches));
}

for (const link of links) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.pushState(null, "", link.href);
    show(link);
  });
}
window.addEventListener("popstate", () => show(currentLink()));
dark.addEventListener("change", applyTheme);
new MutationObserver(applyTheme).observe(document.documentElement, { attributeFilter: ["data-theme"] });
applyTheme();
if (window.SwaggerUIBundle) show(currentLink());
else place.textContent = place.dataset.failure;
