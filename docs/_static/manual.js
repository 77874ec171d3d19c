// Let a long name in a table break after dots, slashes, dashes, underscores and equals signs, to fit the table to the page.
for (const code of document.querySelectorAll("table.docutils code")) {
  const texts = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (texts.nextNode()) nodes.push(texts.currentNode);
  for (const node of nodes) {
    const parts = node.data.split(/(?<=[._/=-])(?=\w)/);
    node.replaceWith(...parts.flatMap((part, index) => (index ? [document.createElement("wbr"), part] : [part])));
  }
}
