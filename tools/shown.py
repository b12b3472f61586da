"""What the site shows of the package, written into _proc for docs.py to render; the notebooks themselves are not run.

Under each exported cell come its public definitions, in their order: name, signature, docstring. Of a cell marked
`#| exports` each is followed by its source, folded. The page of `protoflow.all` ends with a list of all of them.
"""
import ast, functools, importlib, inspect, json, re
from pathlib import Path
import yaml
import nbdev.serve
from execnb.nbio import mk_cell
from fastcore.docments import MarkdownRenderer
from nbdev.doclinks import patch_name
from nbdev.process import Processor
from nbdev.processors import FilterDefaults
from documented import comments
from notebooks import get_config, nbformat

LIB = get_config().lib_path.name
INDEX = '7_apps/11_all.ipynb'
BY_NBDEV = set('add_show_docs clean_show_doc exec_show_docs add_fold mv_exports'.split())      # what `Shown` does here
FOLDED = '#| code-fold: true\n#| code-summary: "{}"\n{}'
listed = {}     # `{notebook: [(name, docstring)]}`


def public_name(node, module):
    "The name under which a definition is shown, that of a method with its class; None of what is not public."
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return patch_name(node) if re.match(r'[^_]|__', node.name) else None
    target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, 'targets', [None])[0]
    return target.id if isinstance(target, ast.Name) and target.id in module.__all__ else None


def parts(source, module):
    "`(name, source)` of each public definition, with what is private before it; the last one also has the rest."
    lines, start = source.splitlines(), 0
    shown = [(public_name(node, module), node.end_lineno) for node in ast.parse(source).body]
    shown = [(name, end) for name, end in shown if name]
    for name, end in shown[:-1]:
        yield name, '\n'.join(lines[start:end]).strip()
        start = end
    yield shown[-1][0] if shown else None, '\n'.join(lines[start:]).strip()


@functools.cache
def places(module):
    "`{name: (first line, comment of a constant or None)}` in the file of a module."
    text, found = Path(module.__file__).read_text(encoding='utf-8'), {}
    said, lines = comments(text), text.splitlines()
    for node in ast.parse(text).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, 'decorator_list', []))])
        above = said.get(first-1, '') if re.match(r'# (?!%%)', lines[first-2]) else ''
        inside = [said[n] for n in range(first, node.end_lineno + 1) if n in said]
        found[public_name(node, module)] = first, None if hasattr(node, 'name') else above or (inside or [''])[0]
    return found


def signature(shown):
    "A definition without its body. A class is called a class, and what nobody wrote is left out."
    text = str(shown.dm).replace(':NoneType=None', '=None').replace('(\n    *args:Any, **kwargs:Any\n)', '()')
    return re.sub(r'^def (.*\))(?:->None)?:$', r'class \1:', text, flags=re.S) if inspect.isclass(shown.sym) else text


def description(name, module):
    "What `module.name` is, as Markdown, and its docstring, or the comment of a constant."
    line, docs = places(module)[name]
    code = ''
    if docs is None:
        shown = MarkdownRenderer(functools.reduce(getattr, name.split('.'), module))
        code, docs = f'```python\n{signature(shown)}\n```\n\n', shown.docs if shown.sym.__doc__ else ''
    source = f'[source](/source/{module.__name__.replace(".", "/")}.md#L-{line}){{.source-link}}'
    heading = '### ' + name.replace('_', r'\_')
    return f'::: {{.definition}}\n{source}\n\n{heading}\n\n{code}{docs}\n:::', docs


class Shown(Processor):
    "Puts descriptions after exported cells, and folds the sources of those marked `#| exports`."
    def begin(self):
        said = [c.directives_ for c in self.nb.cells]
        names = [d['default_exp'][0] for d in said if 'default_exp' in d]
        if not names: return
        module, cells = importlib.import_module(f'{LIB}.{names[0]}'), []
        found = listed[Path(self.nb.path_).resolve()] = []
        for cell in self.nb.cells:
            if cell.cell_type == 'code' and {'export', 'exports'} & cell.directives_.keys():
                for name, source in parts(cell.source, module):
                    if name:
                        text, docs = description(name, module)
                        cells.append(mk_cell(text, 'markdown'))
                        found.append((name, docs))
                    helpers = '' if name else ' of ' + ', '.join(re.findall(r'^(?:def|class) (\w+)', source, re.M))
                    if 'exports' in cell.directives_: cells.append(mk_cell(FOLDED.format('Source' + helpers, source)))
            else: cells.append(cell)
        self.nb.cells = cells


class Processors(FilterDefaults):
    "What nbdev does to a notebook, with `Shown` in place of what runs the exported cells."
    def base_procs(self):
        kept = [p for p in super().base_procs() if p.__name__ not in BY_NBDEV]
        return [*kept[:2], Shown, *kept[2:]]


def index():
    "Every public name with its line and a link, as Markdown, in the order of the sidebar."
    site = yaml.safe_load(Path('_quarto.yml').read_text(encoding='utf-8'))['website']
    for section in site['sidebar']['contents']:
        names = {page: listed.get(Path('nbs', page).resolve()) for page in section.get('contents', [])}
        if any(names.values()): yield f'## {section["section"]}'
        for page in filter(names.get, names):
            title = nbformat.read(Path('nbs', page), 4).cells[0].source.splitlines()[0].removeprefix('# ')
            lines = [(name, docs.partition('\n')[0].replace('|', r'\|')) for name, docs in names[page]]
            rows = [f'| [`{name}`](/{page}#{name.lower()}) | {line} |' for name, line in lines]
            table = '\n'.join(['| Name | What it is |', '|---|---|', *rows])
            yield f'### {title}\n\n::: {{.api-index}}\n\n{table}\n\n:::'


def main():
    nbdev.serve.FilterDefaults = Processors
    page = nbdev.serve.proc_nbs(n_workers=0)/INDEX
    nb = json.loads(page.read_text(encoding='utf-8'))
    nb['cells'].append(nbformat.v4.new_markdown_cell('\n\n'.join(index())))
    page.write_text(json.dumps(nb), encoding='utf-8')


if __name__ == '__main__': main()
