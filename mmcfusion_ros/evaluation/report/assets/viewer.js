// The large viewer: images of one frame over each other with draggable dividers, or side by side.

const STEP = 2; // percent that an arrow key moves a divider

/** `layers` of `build` are {label, on, picture(frame), boxes(frame)}; picture gives {url, name} or null, boxes rows or null. */
function createViewer() {
  const stage = byId("stage");
  let layers = [];
  let shown = []; // the layers that are switched on
  let places = []; // of the dividers between them, in percent
  let mode = "divider";
  let frame = null;

  function build(newLayers) {
    layers = newLayers;
    frame = null;
    byId("layers").replaceChildren(...layers.map(chip));
    stage.hidden = !layers.length;
    for (const bar of [byId("layers"), byId("mode")]) bar.hidden = layers.length < 2;
    arrange();
  }

  function chip(layer) {
    const button = element("button", { type: "button", className: "chip", "aria-pressed": layer.on }, layer.label);
    button.addEventListener("click", () => {
      if (layer.on && shown.length === 1) return;
      layer.on = !layer.on;
      button.setAttribute("aria-pressed", layer.on);
      arrange();
    });
    return button;
  }

  function arrange() {
    shown = layers.filter((layer) => layer.on);
    for (const layer of shown) {
      layer.image = element("img", { draggable: false, alt: "" });
      layer.view = element("div", { className: "view" }, layer.image);
      layer.caption = element("figcaption", {}, layer.label);
      layer.figure = element("figure", {}, layer.view, layer.caption);
    }
    shown.at(-1)?.image.addEventListener("load", ({ target }) => {
      stage.style.setProperty("--ratio", target.naturalWidth / target.naturalHeight);
    });
    places = shown.slice(1).map((_, i) => (100 * (i + 1)) / shown.length);
    const dividers = mode === "divider" ? places.map((_, i) => divider(i)) : [];
    stage.className = mode;
    stage.replaceChildren(...shown.map((layer) => layer.figure), ...dividers);
    place();
    if (frame !== null) show(frame);
  }

  function divider(i) {
    const node = element("div", {
      role: "separator",
      tabIndex: 0,
      "aria-orientation": "vertical",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-label": `Divider between ${shown[i].label} and ${shown[i + 1].label}`,
    });
    node.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 5 * STEP : STEP;
      const targets = { ArrowLeft: places[i] - step, ArrowRight: places[i] + step, Home: 0, End: 100 };
      if (!(event.key in targets)) return;
      event.preventDefault();
      event.stopPropagation();
      move(i, targets[event.key]);
    });
    return node;
  }

  /** Moves divider `i` to a place in percent; it pushes the others along. */
  function move(i, target) {
    const limited = Math.min(100, Math.max(0, target));
    places = places.map((other, j) => (j < i ? Math.min(other, limited) : j > i ? Math.max(other, limited) : limited));
    place();
  }

  function place() {
    if (mode !== "divider") return;
    const edges = [0, ...places, 100];
    shown.forEach((layer, i) => {
      layer.view.style.clipPath = `inset(0 ${100 - edges[i + 1]}% 0 ${edges[i]}%)`;
      layer.caption.style.left = `${edges[i]}%`;
      layer.caption.style.maxWidth = `${edges[i + 1] - edges[i]}%`;
    });
    stage.querySelectorAll("[role='separator']").forEach((node, i) => {
      node.style.left = `${places[i]}%`;
      node.setAttribute("aria-valuenow", Math.round(places[i]));
    });
  }

  function show(newFrame) {
    frame = newFrame;
    for (const layer of shown) {
      const picture = layer.picture(frame);
      layer.figure.classList.toggle("missing", !picture);
      layer.image.alt = picture ? `${layer.label}, frame ${picture.name}` : "";
      if (picture) layer.image.src = picture.url;
      else layer.image.removeAttribute("src");
      const rows = picture && layer.boxes(frame);
      layer.view.replaceChildren(layer.image, ...(rows ? [drawBoxes(rows)] : []));
      layer.caption.replaceChildren(layer.label, ...(rows ? [element("small", {}, countBoxes(rows))] : []));
    }
  }

  /** The divider to drag from a place: the nearest; of several on one spot that which can follow. */
  function grabbed(target) {
    const distances = places.map((place) => Math.abs(place - target));
    const least = Math.min(...distances);
    const others = target > places[distances.indexOf(least)];
    return others ? distances.lastIndexOf(least) : distances.indexOf(least);
  }

  let dragged = -1;
  const percent = (event) => {
    const box = stage.getBoundingClientRect();
    return (100 * (event.clientX - box.left)) / box.width;
  };
  stage.addEventListener("pointerdown", (event) => {
    if (mode !== "divider" || !places.length || event.button !== 0) return;
    dragged = grabbed(percent(event));
    stage.setPointerCapture(event.pointerId);
    stage.querySelectorAll("[role='separator']")[dragged].focus({ preventScroll: true });
    event.preventDefault();
    move(dragged, percent(event));
  });
  stage.addEventListener("pointermove", (event) => {
    if (dragged >= 0) move(dragged, percent(event));
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (dragged = -1));

  byId("mode").addEventListener("click", (event) => {
    mode = event.target.dataset.mode ?? mode;
    for (const button of byId("mode").children) button.setAttribute("aria-pressed", button.dataset.mode === mode);
    arrange();
  });

  return { build, show, redraw: () => show(frame) };
}
