(() => {
  "use strict";
  const PER_PAGE = 25;
  const form = document.getElementById("filter");
  const list = document.getElementById("problems");
  if (!form || !list) return;
  const problems = Array.from(list.children);
  const control = (name) => form.elements.namedItem(name);
  let page = 0;

  const fits = (attempt, arm, answer, trace) =>
    (arm === "" || attempt.dataset.arm === arm) &&
    (answer === "" || (answer === "cut off" ? attempt.dataset.finish === "length" : attempt.dataset.answer === answer)) &&
    (trace === "" || attempt.dataset.trace === trace);

  const right = (attempts, arm) => {
    const found = attempts.find((attempt) => attempt.dataset.arm === arm);
    return found ? found.dataset.answer === "correct" : null;
  };

  const matches = (problem) => {
    const attempts = Array.from(problem.querySelectorAll("[data-arm]"));
    const [left, other] = [control("left").value, control("right").value];
    const between = control("between").value;
    if (between === "disagree" && !("disagree" in problem.dataset)) return false;
    if (between === "left" && !(right(attempts, left) === true && right(attempts, other) === false)) return false;
    if (between === "right" && !(right(attempts, left) === false && right(attempts, other) === true)) return false;
    const words = control("words").value.trim().toLowerCase();
    if (words && !problem.textContent.toLowerCase().includes(words)) return false;
    return attempts.some((one) => fits(one, control("arm").value, control("answer").value, control("trace").value));
  };

  const show = () => {
    const [left, other] = [control("left").value, control("right").value];
    const chosen = [left, other].filter((arm) => arm !== "");
    list.classList.toggle("pair", chosen.length === 2 && left !== other);
    for (const attempt of list.querySelectorAll("[data-arm]")) {
      attempt.hidden = chosen.length > 0 && !chosen.includes(attempt.dataset.arm);
      attempt.style.order = attempt.dataset.arm === left ? "0" : attempt.dataset.arm === other ? "1" : "2";
    }
    const found = problems.filter(matches);
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const visible = new Set(found.slice(page * PER_PAGE, (page + 1) * PER_PAGE));
    for (const problem of problems) problem.hidden = !visible.has(problem);
    document.getElementById("found").textContent =
      `${found.length} of ${problems.length} problems, page ${page + 1} of ${pages}`;
    document.getElementById("before").disabled = page === 0;
    document.getElementById("next").disabled = page === pages - 1;
  };

  const turn = (by) => { page += by; show(); list.scrollIntoView({ block: "nearest" }); };
  form.addEventListener("input", () => { page = 0; show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("before").addEventListener("click", () => turn(-1));
  document.getElementById("next").addEventListener("click", () => turn(1));
  form.hidden = false;
  show();
})();
