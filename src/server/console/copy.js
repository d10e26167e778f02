// Copies a field to the clipboard. Without it the field can be selected and copied by hand.
for (const button of document.querySelectorAll("button[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      // Not allowed outside https: the older way works there.
      document.execCommand("copy");
    }
    document.getElementById("copied").textContent = "Copied";
  });
}
