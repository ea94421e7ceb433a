// Votes do not know which side is which: they are kept in this browser and saved as JSON lines.
const page = document.body;
const key = `vila2-votes-${page.dataset.pair}-${page.dataset.seed}`;
const cards = [...document.querySelectorAll(".pair")];
let votes = {};
try { votes = JSON.parse(localStorage.getItem(key)) || {}; } catch { /* a page opened as a file may have no storage */ }
const winner = (card, choice) => (choice === "tie" ? "tie" : card.dataset[choice]);
const show = () => {
  const cast = cards.filter((card) => votes[card.dataset.ordinal]);
  for (const card of cards)
    for (const button of card.querySelectorAll("[data-choice]"))
      button.setAttribute("aria-pressed", String(votes[card.dataset.ordinal] === winner(card, button.dataset.choice)));
  document.getElementById("progress").textContent = `${cast.length} of ${cards.length} voted`;
  document.getElementById("save").disabled = cast.length === 0;
  const wins = (side) => cast.filter((card) => votes[card.dataset.ordinal] === side).length;
  document.getElementById("tally").textContent = cast.length ? `Your votes: A ${wins("a")}, B ${wins("b")}, neither ${wins("tie")}.` : "";
};
for (const card of cards)
  for (const button of card.querySelectorAll("[data-choice]"))
    button.addEventListener("click", () => {
      votes[card.dataset.ordinal] = winner(card, button.dataset.choice);
      try { localStorage.setItem(key, JSON.stringify(votes)); } catch { /* the same */ }
      show();
    });
const lines = () => cards.filter((card) => votes[card.dataset.ordinal]).map((card) => JSON.stringify({
  schema: page.dataset.schema, pair: page.dataset.pair, ordinal: Number(card.dataset.ordinal),
  id: card.dataset.id, winner: votes[card.dataset.ordinal],
}) + "\n").join("");
document.getElementById("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines()], { type: "application/jsonl" }));
  link.download = "votes.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
const reveal = document.getElementById("reveal");
reveal.addEventListener("click", () => {
  const revealed = page.classList.toggle("revealed");
  reveal.setAttribute("aria-expanded", String(revealed));
  reveal.textContent = revealed ? "Hide which is which" : "Show which is which, and the figures";
});
show();
