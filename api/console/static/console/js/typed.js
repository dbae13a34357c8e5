// Typed values of a page, which survive the switch of the language: it loads the page again.

const KEY = "cyllm-typed";

const LEFT_OUT = "[type=hidden], [type=password], [type=file], form[method=get] *"; // a filter is that of the address

/** Return the fields that a person can change. */
function fields() {
  return document.querySelectorAll(`main :is(input, textarea, select)[id]:not(${LEFT_OUT})`);
}

const property = (field) => (field.type === "checkbox" ? "checked" : "value");

/** Keep the values of this page for the next page of this window, which must have the same address. */
export function keepTyped() {
  const values = [...fields()].map((field) => [field.id, field[property(field)]]);
  try {
    sessionStorage.setItem(KEY, JSON.stringify({ path: location.pathname, values }));
  } catch {
    // Storage is off or full: the values are lost.
  }
}

/** Put back the values that were kept, once. */
export function restoreTyped() {
  let kept = null;
  try {
    kept = JSON.parse(sessionStorage.getItem(KEY));
    sessionStorage.removeItem(KEY);
  } catch {
    return;
  }
  if (kept?.path !== location.pathname) return;
  const byId = new Map(kept.values);
  fields().forEach((field) => {
    const value = byId.get(field.id);
    if (value === undefined || field[property(field)] === value) return;
    field[property(field)] = value;
    field.closest("details")?.setAttribute("open", "");
  });
}
