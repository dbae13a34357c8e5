// Members: the dialog that confirms a removal.

const dialog = document.getElementById("remove-dialog");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-remove]");
  if (!button) return;
  dialog.querySelector("form").action = button.dataset.remove;
  dialog.querySelector("[data-member-name]").textContent = button.dataset.name;
  dialog.showModal();
});
