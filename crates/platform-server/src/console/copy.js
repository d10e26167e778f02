// Copies a field to the clipboard. Without it the field can be selected and copied by hand.
for (const button of document.querySelectorAll("button[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    let copied = true;
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      // Not allowed outside https: the older way works there.
      copied = document.execCommand("copy");
    }
    const status = document.getElementById("copied");
    status.textContent = copied ? "Copied" : "Not copied: it is selected, copy it by hand";
  });
}
