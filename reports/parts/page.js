// Glue between the page and its libraries: unpack them, hand over tables and plots, move the slider, show evidence.

async function unpacked(name) {
  const text = document.getElementById(`library-${name}`).textContent;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = await new Response(stream).blob();
  return URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
}

function loaded(url) {
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: url, onload: resolve, onerror: reject });
    document.head.append(script);
  });
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const tint = () => document.documentElement.classList.toggle("dark", dark.matches); // DataTables asks for this class
dark.addEventListener("change", tint);
tint();

async function tables() {
  const { default: DataTable } = await import(await unpacked("datatables"));
  const options = { paging: false, info: false, order: [], autoWidth: false, language: { search: "Filter:" } };
  for (const table of document.querySelectorAll("table.data:not(.facts, .machines)")) new DataTable(table, options);
}

async function plots() {
  const given = document.querySelectorAll("script[data-plot]");
  if (!given.length) return;
  await loaded(await unpacked("plotly"));
  for (const { dataset, textContent } of given) {
    const { data, layout } = JSON.parse(textContent);
    await Plotly.newPlot(dataset.plot, data, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  }
}

const slider = document.getElementById("stage");
slider?.addEventListener("input", () => {
  document.querySelectorAll(".stage").forEach((stage, place) => {
    stage.hidden = place !== Number(slider.value);
    if (!stage.hidden) document.getElementById("stage-name").textContent = stage.dataset.title;
  });
});

function named(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}

addEventListener("click", ({ target }) => {
  const button = target.closest("button.evidence");
  if (!button) return;
  const numbers = JSON.parse(document.getElementById(`evidence-${button.dataset.target}`).textContent);
  const facts = numbers[button.dataset.place].flatMap(([label, text]) => [named("dt", label), named("dd", text)]);
  const dialog = document.getElementById("evidence");
  dialog.querySelector("dl").replaceChildren(...facts);
  dialog.showModal();
});

function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();

addEventListener("beforeprint", () => document.querySelectorAll("details.target").forEach((one) => (one.open = true)));

await Promise.all([tables(), plots()]);
document.documentElement.dataset.ready = "true";
