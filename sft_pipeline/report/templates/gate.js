const [type, outcome, text, count, none] = ["type", "outcome", "text", "count", "none"].map(id => document.getElementById(id));
const rows = [...document.getElementById("items").rows];
let words, waiting;
function filter() {
  const wanted = text.value.toLowerCase();
  if (wanted) words ??= rows.map(row => row.textContent.toLowerCase());
  let shown = 0;
  rows.forEach((row, k) => {
    const hide = Boolean((type.value && row.dataset.type !== type.value)
      || (outcome.value && row.dataset.outcome !== outcome.value)
      || (wanted && !words[k].includes(wanted)));
    if (row.hidden !== hide) row.hidden = hide;
    shown += !hide;
  });
  count.textContent = shown === rows.length ? `${shown} items` : `${shown} of ${rows.length} items`;
  none.hidden = shown > 0;
}
type.addEventListener("input", filter);
outcome.addEventListener("input", filter);
text.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); });
text.form.addEventListener("submit", event => event.preventDefault());
filter();
