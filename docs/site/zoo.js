// Leaves the rows of the zoo that have the task, the size and the words asked for.
const zoo = document.getElementById("zoo");
if (zoo) {
  const [task, most, words, count] = ["task", "most", "words", "count"].map((name) => zoo.querySelector(`[name=${name}]`));
  const rows = [...zoo.querySelectorAll("tbody tr")];
  const filter = () => {
    const asked = words.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const { task: kind, parameters } = row.dataset;
      const small = !most.value || (parameters && Number(parameters) <= 1e6 * Number(most.value));
      row.hidden = (task.value && kind !== task.value) || !small || !asked.every((word) => row.textContent.toLowerCase().includes(word));
    }
    count.value = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
  };
  zoo.addEventListener("input", filter);
  filter();
}
