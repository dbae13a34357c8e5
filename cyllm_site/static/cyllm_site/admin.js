// Settings of htmx, loaded after it: its style element is forbidden by the content security policy.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;

// Alpine.js and Select2 write styles as an attribute, which the policy takes for inline styles. The same through
// the object model is allowed, because only scripts of this site can do it.
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
  if (String(name).toLowerCase() === "style" && this.style) this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

// Select2 gives its fields no name for assistive technology: they get that of the field that they replace.
function nameSelects() {
  for (const container of document.querySelectorAll(".select2-container")) {
    const select = container.previousElementSibling;
    const label = select?.id ? document.querySelector(`label[for="${CSS.escape(select.id)}"]`) : null;
    if (!label) continue;
    label.id ||= `${select.id}-label`;
    const shown = container.querySelector(".select2-selection__rendered");
    const box = container.querySelector("[role=combobox]");
    if (box && shown?.id) box.setAttribute("aria-labelledby", `${label.id} ${shown.id}`);
    for (const part of container.querySelectorAll("[role=textbox], [role=searchbox]")) {
      part.setAttribute("aria-labelledby", label.id);
    }
  }
}
// On narrow screens, the cells of a list show these labels, which begin in lower case.
function capitalizeLabels() {
  for (const cell of document.querySelectorAll("#result_list [data-label]")) {
    const label = cell.dataset.label;
    cell.dataset.label = label.charAt(0).toUpperCase() + label.slice(1);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  nameSelects();
  capitalizeLabels();
  // The first error of a long form may be far below its notice.
  document.querySelector("form .errorlist")?.scrollIntoView({ block: "center" });
  new MutationObserver(nameSelects).observe(document.body, { childList: true, subtree: true });
});
