
"use strict";
(() => {
  document.documentElement.classList.add("js");

  const views = [...document.querySelectorAll(".comparison")].map((figure) => {
    const find = (selector) => figure.querySelector(selector);
    const stage = find(".stage");
    const slider = find(".slider");
    const buttons = [...figure.querySelectorAll(".strip button")];
    const layers = buttons.map((button) => ({
      source: button.querySelector("img").src,
      alt: button.querySelector("img").alt,
      text: [...button.querySelectorAll("span")].map((part) => part.textContent).join("  "),
    }));
    const sides = {
      left: { select: find("select.left"), image: find(".over"), badge: find(".on-left") },
      right: { select: find("select.right"), image: find(".under"), badge: find(".on-right") },
    };

    const say = () => {
      const names = [sides.left, sides.right].map(({ select }) => layers[select.value].text);
      slider.setAttribute("aria-valuetext", `${slider.value} %: left ${names[0]}, right ${names[1]}`);
    };
    const move = (value) => {
      slider.value = value;
      stage.style.setProperty("--at", `${slider.value}%`);
      say();
    };
    const show = (side, number) => {
      if (!layers[number]) return;
      const { select, image, badge } = sides[side];
      select.value = number;
      image.src = layers[number].source;
      image.alt = layers[number].alt;
      badge.textContent = layers[number].text;
      if (side === "right") {
        buttons.forEach((button, other) => button.setAttribute("aria-pressed", other === Number(number)));
      }
      say();
    };

    for (const side of ["left", "right"]) {
      sides[side].select.addEventListener("change", (event) => show(side, event.target.value));
      show(side, sides[side].select.value);
    }
    buttons.forEach((button, number) => button.addEventListener("click", () => show("right", number)));
    slider.addEventListener("input", () => move(slider.value));
    const follow = (event) => {
      const box = stage.getBoundingClientRect();
      move((100 * (event.clientX - box.left)) / box.width);
    };
    stage.addEventListener("pointerdown", (event) => {
      stage.setPointerCapture(event.pointerId);
      follow(event);
    });
    stage.addEventListener("pointermove", (event) => {
      if (stage.hasPointerCapture(event.pointerId)) follow(event);
    });
    move(slider.value);
    return { figure, show };
  });

  for (const pickers of document.querySelectorAll(".pickers.all")) {
    const gallery = pickers.closest(".gallery");
    for (const side of ["left", "right"]) {
      pickers.querySelector(`select.${side}`).addEventListener("change", (event) => {
        views.filter((view) => gallery.contains(view.figure)).forEach((view) => view.show(side, event.target.value));
      });
    }
  }
})();
