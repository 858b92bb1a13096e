// The viewer's page: NiiVue draws; this reads the settings, and joins buttons, keys and cursor to it.
const state = document.getElementById("state");
const canvas = document.getElementById("scan");
const sliders = [...document.querySelectorAll("input.opacity")];

function fail(text) {
  state.textContent = text;
  state.className = "wrong";
  document.body.dataset.state = "failed";
}

function press(buttons, pressed) {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
}

async function library() {
  const module = await import("./niivue.js");
  const Niivue = module.Niivue ?? globalThis.niivue?.Niivue;
  if (!Niivue) throw new Error("NiiVue is not in the file that was given for it.");
  return Niivue;
}

function told(where, settings) {
  const shape = settings.shape;
  // NiiVue counts towards the patient's right and front; columns and rows go the other way.
  const [right, front, z] = where.vox.map(Math.round);
  const [x, y] = [shape[0] - 1 - right, shape[1] - 1 - front];
  const values = where.values.map((entry, index) => {
    const unit = settings.volumes[index]?.unit ?? "";
    const value = Number.isInteger(entry.value) ? entry.value : Number(entry.value).toFixed(3);
    const name = index === 0 ? "" : document.querySelectorAll(".map .name")[index - 1].textContent + " ";
    return `${name}${value}${unit ? " " + unit : ""}`;
  });
  document.body.dataset.voxel = [x, y, z].join(" ");
  return `Column ${x + 1} of ${shape[0]}, row ${y + 1} of ${shape[1]}, slice ${z + 1} of ${shape[2]} (from the feet) \u00b7 ${values.join(" \u00b7 ")}`;
}

function windows(viewer, settings) {
  const buttons = [...document.querySelectorAll("button.window")];
  const choose = (button) => {
    [viewer.volumes[0].cal_min, viewer.volumes[0].cal_max] = settings.windows[button.dataset.window];
    viewer.updateGLVolume();
    press(buttons, button);
  };
  for (const button of buttons) button.addEventListener("click", () => choose(button));
  return buttons.map((button, index) => [String(index + 1), () => choose(button)]);
}

function planes(viewer) {
  const kinds = {
    all: viewer.sliceTypeMultiplanar, axial: viewer.sliceTypeAxial,
    coronal: viewer.sliceTypeCoronal, sagittal: viewer.sliceTypeSagittal,
  };
  const buttons = [...document.querySelectorAll("button.plane")];
  const choose = (button) => {
    viewer.setSliceType(kinds[button.dataset.plane]);
    press(buttons, button);
  };
  for (const button of buttons) button.addEventListener("click", () => choose(button));
  return buttons.map((button, index) => ["axcs"[index], () => choose(button)]);
}

function maps(viewer) {
  let hidden = false;
  const show = (slider) => {
    viewer.setOpacity(Number(slider.dataset.map) + 1, hidden ? 0 : slider.value / 100);
    slider.parentElement.querySelector("output").textContent = hidden ? "off" : `${slider.value} %`;
  };
  const change = (by) => {
    hidden = false;
    for (const slider of sliders) {
      slider.value = Number(slider.value) + by;
      show(slider);
    }
  };
  for (const slider of sliders) {
    slider.addEventListener("input", () => { hidden = false; sliders.forEach(show); });
  }
  return [
    ["o", () => { hidden = !hidden; sliders.forEach(show); }],
    ["[", () => change(-10)],
    ["]", () => change(10)],
  ];
}

function cursor(viewer) {
  const move = (x, y, z) => () => viewer.moveCrosshairInVox(x, y, z);
  return [
    ["ArrowLeft", move(1, 0, 0)], ["ArrowRight", move(-1, 0, 0)],
    ["ArrowUp", move(0, 1, 0)], ["ArrowDown", move(0, -1, 0)],
    ["PageUp", move(0, 0, 1)], ["PageDown", move(0, 0, -1)],
    ["Home", () => {
      viewer.scene.crosshairPos = [0.5, 0.5, 0.5];
      viewer.drawScene();
      viewer.createOnLocationChange();
    }],
  ];
}

function listen(actions) {
  const byKey = new Map(actions);
  // Before NiiVue, which has keys of its own.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const inSlider = event.target.matches("input");
    const action = byKey.get(event.key);
    if (event.target === canvas || (action && !inSlider)) event.stopImmediatePropagation();
    if (!action || (inSlider && event.key.length > 1)) return;
    if (event.target.matches("button") && event.key.length > 1) return;
    event.preventDefault();
    action();
  }, { capture: true });
}

async function start() {
  const settings = await (await fetch("settings.json")).json();
  const Niivue = await library();
  const viewer = new Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [0.36, 0.7, 0.9, 0.8], crosshairWidth: 1, crosshairWidthUnit: "mm",
    isRadiologicalConvention: true, dragAndDropEnabled: false, multiplanarShowRender: 0,
    loadingText: "", logLevel: "error", isNearestInterpolation: false,
  });
  await viewer.attachToCanvas(canvas);
  if (!viewer.gl) throw new Error("This browser has no WebGL2.");
  viewer.onLocationChange = (where) => {
    document.getElementById("cursor").textContent = told(where, settings);
  };
  await viewer.loadVolumes(settings.volumes.map((volume, index) => ({
    url: new URL(volume.url, location.href).href, name: volume.url, colormap: volume.colormap,
    colormapNegative: volume.below, cal_min: volume.low, cal_max: volume.high, opacity: index === 0 ? 1 : 0.5,
  })));
  viewer.setSliceType(viewer.sliceTypeMultiplanar);
  listen([...windows(viewer, settings), ...planes(viewer), ...maps(viewer), ...cursor(viewer)]);
  viewer.createOnLocationChange();
  canvas.focus();
  state.textContent = "";
  globalThis.viewer = viewer;
  document.body.dataset.state = "ready";
}

start().catch((error) => fail(`The scan cannot be shown: ${error.message ?? error}`));
