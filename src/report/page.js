for (const card of document.querySelectorAll("article")) connect(card);
const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const card of document.querySelectorAll("article"))
    card.hidden = !words.every((word) => card.dataset.words.includes(word));
});
