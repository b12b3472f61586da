"""README.md from nbs/index.ipynb: `python .ci/readme.py [--check]`."""
import sys
import nbformat
from nbconvert import MarkdownExporter
from notebooks import ROOT, directives

def readme():
    "The index notebook as Markdown, images beside the notebooks."
    nb = nbformat.read(ROOT/'nbs/index.ipynb', 4)
    nb.cells = [c for c in nb.cells if not {'hide', 'export'} & directives(c.source)]
    for c in nb.cells:
        if c.cell_type == 'code': c.source = '\n'.join(l for l in c.source.splitlines() if not l.startswith('#|'))
    body, resources = MarkdownExporter().from_notebook_node(nb)
    if resources.get('outputs'): sys.exit('index.ipynb has pictures among its outputs: put them in nbs/images and link to them')
    note = '<!-- made from nbs/index.ipynb by make readme: edit that one -->\n\n'
    return note + body.replace('(images/', '(nbs/images/').strip() + '\n'

if __name__ == '__main__':
    path, text = ROOT/'README.md', readme()
    if '--check' in sys.argv: sys.exit(0 if path.exists() and path.read_text(encoding='utf-8') == text else 'README.md is not what nbs/index.ipynb gives: run make readme')
    path.write_text(text, encoding='utf-8')
