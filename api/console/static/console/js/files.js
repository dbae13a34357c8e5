// The list of files: an upload opens the page of the new file.

import { watchUpload } from "./upload.js";

const card = document.getElementById("upload-card");
if (card) watchUpload(card.dataset.upload, (file) => location.assign(file.address));
