// A clause shows its evidence in the picture, and a mark in the picture the clauses it supports.
const connect = (card) => {
  const marks = new Map([...card.querySelectorAll(".mark")].map((m) => [m.dataset.id, m]));
  const clauses = [...card.querySelectorAll(".clause")].map((node) => ({
    node,
    evidence: node.dataset.evidence.split(" ").filter((id) => marks.has(id)),
  }));
  const show = (ids, nodes, on) => {
    card.classList.toggle("focused", on && ids.length > 0);
    for (const id of ids) marks.get(id).classList.toggle("on", on);
    for (const node of nodes) node.classList.toggle("on", on);
  };
  const bind = (target, ids, nodes) => {
    for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focus", true], ["blur", false]])
      target.addEventListener(event, () => show(ids, nodes, on));
  };
  for (const { node, evidence } of clauses) bind(node, evidence, [node]);
  for (const [id, mark] of marks)
    bind(mark, [id], clauses.filter((c) => c.evidence.includes(id)).map((c) => c.node));
};
