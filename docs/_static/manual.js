// A long name in a table may be broken behind its dots, dashes, slashes and underscores, and so the table fits the page.
for (const code of document.querySelectorAll("table.docutils code")) {
  const texts = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (texts.nextNode()) nodes.push(texts.currentNode);
  for (const node of nodes) {
    const parts = node.data.split(/(?<=[._/=-])(?=\w)/);
    node.replaceWith(...parts.flatMap((part, index) => (index ? [document.createElement("wbr"), part] : [part])));
  }
}
