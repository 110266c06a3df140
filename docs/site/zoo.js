// Leaves the models of the zoo that have the task, the size and the words asked for.
const zoo = document.getElementById("models");
if (zoo) {
  const [task, most, words, count] = ["task", "most", "words", "count"].map((name) => zoo.querySelector(`[name=${name}]`));
  const models = [...zoo.querySelectorAll("tbody")];
  const filter = () => {
    const asked = words.value.toLowerCase().split(/\s+/);
    for (const model of models) {
      const { task: kind, parameters } = model.dataset;
      const small = !most.value || (parameters && Number(parameters) <= 1e6 * Number(most.value));
      model.hidden = (task.value && kind !== task.value) || !small || !asked.every((word) => model.textContent.toLowerCase().includes(word));
    }
    count.value = `${models.filter((model) => !model.hidden).length} of ${models.length}`;
  };
  zoo.addEventListener("input", filter);
  filter();
}
