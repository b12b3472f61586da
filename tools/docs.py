"""Build the site in _docs/: run the notebooks in a copy, fill in the API, render, check every address and picture.

    docs.py [--stored]     with --stored, the notebooks show their stored outputs and are not run: a quick look

The pages are made by smalldocs from `_quarto.yml`. They ask no other host for anything, so they work with no network.
"""
import json, os, re, shutil, subprocess, sys, tempfile
from collections import Counter
from html.parser import HTMLParser
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote, urlsplit
import yaml
from notebooks import ROOT, find, get_config
from nbdev.doclinks import _nbpath2html

CFG = get_config()
if sys.version_info < (3, 11): sys.exit('the site needs Python 3.11: rm -r .venv; make docs PYTHON=python3.11')
if CFG.lib_name not in entry_points(group='nbdev').names: sys.exit('the package is not installed: make docs')
SOURCES = 'nbs', CFG.lib_path.name, 'tools', 'settings.ini', 'pyproject.toml', '_quarto.yml'
KATEX = re.compile(r'<link[^>]*katex[^>]*>\s*<script[^>]*katex[^>]*></script>\s*<script[^>]*auto-render[^>]*></script>')
FORMULA = re.compile(r'<span class="math.*?</span>', re.S)
TEXT = re.compile(r'\\text\w*\{[^{}]*\}')     # Jupyter wants `\_` in here, this MathJax `_`
NO_FONT = re.compile(r"""url\('(?:about:blank|"\+\w\+"/MathJax_[\w-]+\.otf)'\)""")
PLAIN = re.compile(r'(<meta name="description" content=")([^"]*)')     # Markdown would stay as it is there
MIN_WORDS = 3    # of the text of a picture
# What smalldocs leaves without a name, or out of reach of the keyboard
NAMED = [(r'<nav class="navbar ', r'<nav aria-label="site" class="navbar '),
         (r'<nav class="quarto-sec', r'<nav aria-label="page" class="quarto-sec'),
         (r'<nav id="quarto-sidebar"', r'<nav aria-label="all pages" id="quarto-sidebar"'),
         (r'(<a class="sidebar-item[^>]*) role="navigation"', r'\1 role="button"'),
         (r'<a href="#L-(\d+)"></a>', r'<a href="#L-\1" aria-label="line \1"></a>'),
         (r'<div class="(sd-table|[^"]*cell-output-display[^"]*)"', r'<div tabindex="0" class="\1"')]
MATHJAX = '''<script type="text/x-mathjax-config">MathJax.Hub.Config({messageStyle: "none", showMathMenu: false,
"HTML-CSS": {scale: 92, mtextFontInherit: true, availableFonts: [], imageFont: null, preferredFont: null,
webFont: "STIX-Web", linebreaks: {automatic: true}}})</script>
<script defer src="%ssite_libs/mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full"></script>'''


def run(folder, *args):
    "Run Python with `args` in `folder`, on the package that lies there."
    run = subprocess.run([sys.executable, *args], cwd=folder, env={**os.environ, 'PYTHONPATH': str(folder)})
    if run.returncode: sys.exit(f'protoflow: no site: {" ".join(args)} failed')


def sidebar_entries(contents):
    "The notebooks that the sidebar lists, in order."
    for entry in contents:
        if isinstance(entry, str): yield entry
        elif 'href' in entry: yield entry['href']
        else: yield from sidebar_entries(entry['contents'])


def check_sidebar():
    "Every notebook has one entry in the sidebar, and every entry has a notebook."
    site = yaml.safe_load(Path('_quarto.yml').read_text(encoding='utf-8'))['website']
    listed = Counter(sidebar_entries(site['sidebar']['contents']))
    exist = Counter(p.relative_to('nbs').as_posix() for p in find())
    wrong = [f'{p} {listed[p]} times, expected {exist[p]}' for p in listed | exist if listed[p] != exist[p]]
    if wrong: sys.exit('\n'.join(f'_quarto.yml: the sidebar lists {p}' for p in wrong))


def copy_checkout(folder):
    "Copy what the site is made of."
    unwanted = shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
    for name in SOURCES:
        if Path(name).is_dir(): shutil.copytree(name, folder/name, symlinks=True, ignore=unwanted)
        else: shutil.copy(name, folder)


def write_source_pages(proc):
    "A page for each module, so that `source` links lead into the site."
    for path in sorted(CFG.lib_path.rglob('*.py')):
        name = path.relative_to(ROOT)
        if path.name in ('__init__.py', '_modidx.py'): continue
        page = proc/'source'/name.with_suffix('.md')
        page.parent.mkdir(parents=True, exist_ok=True)
        head = f'---\ntitle: {".".join(name.with_suffix("").parts)}\nsearch: false\ntoc: false\n---\n\n'
        code = f'~~~~~~{{#L .python code-line-numbers="true"}}\n{path.read_text(encoding="utf-8")}~~~~~~\n'
        page.write_text(head + code, encoding='utf-8')


def link_inside(proc):
    "Turn the links that nbdev writes, to a published site, into links between the pages here."
    pages = {_nbpath2html(p.relative_to('nbs')).as_posix(): p.relative_to('nbs').as_posix() for p in find()}
    docs = CFG.doc_host + CFG.doc_baseurl
    for path in proc.rglob('*.ipynb'):
        text = path.read_text(encoding='utf-8')
        text = re.sub(re.escape(docs) + r'/([\w./-]+\.html)', lambda m: '/' + pages[m[1]], text)
        text = re.sub(r'output-file: [\w.-]+\\n', '', text)
        path.write_text(text, encoding='utf-8')


def check_figures(proc):
    "End the build if a cell shows a picture and no `#| fig-alt:` says it in words."
    def drawn(cell): return any('image/' in ' '.join(out.get('data', {})) for out in cell.get('outputs', []))
    def told(cell): return re.search(r'^#\|\s*fig-alt:', ''.join(cell['source']), re.M)
    cells = [(p, cell) for p in proc.rglob('*.ipynb') for cell in json.loads(p.read_text(encoding='utf-8'))['cells']]
    bare = [f'{p.relative_to(proc)}: cell {cell.get("id")}' for p, cell in cells if drawn(cell) and not told(cell)]
    if bare: sys.exit('a picture has no text that describes it (#| fig-alt: "..."):\n' + '\n'.join(bare))


def render(proc):
    "Make the pages. Any warning, such as a broken link, ends the build."
    run(proc.parent, '-m', 'smalldocs.cli', 'render', '--strict', str(proc))
    site = proc/'_docs'
    import jupyter_server_mathjax
    static, mathjax = Path(jupyter_server_mathjax.__file__).parent/'static', site/'site_libs/mathjax'
    shutil.copytree(static, mathjax, ignore=shutil.ignore_patterns('localization', 'SVG'))
    config = mathjax/'config/TeX-AMS-MML_HTMLorMML-full.js'      # names fonts that are not there
    config.write_text(NO_FONT.sub("local('none')", config.read_text(encoding='utf-8')), encoding='utf-8')
    for path in site.rglob('*.html'):       # formulas by the copy of MathJax in the site
        up = '../' * (len(path.relative_to(site).parts) - 1)
        text = path.read_text(encoding='utf-8')
        text = FORMULA.sub(lambda f: TEXT.sub(lambda t: t[0].replace(r'\_', '_'), f[0]), text)
        text = KATEX.sub(lambda _: MATHJAX % up, text)
        text = PLAIN.sub(lambda m: m[1] + re.sub('[*`]', '', m[2]), text)
        for what, said in NAMED: text = re.sub(what, said, text)
        path.write_text(text, encoding='utf-8')
    for path in (site/'site_libs/themes').rglob('*.css'):       # the reader's own fonts, not another host's
        path.write_text(re.sub(r'@import url\([^)]*\);?', '', path.read_text(encoding='utf-8')), encoding='utf-8')
    return site


class Page(HTMLParser):
    "The ids, the links, the things loaded and the texts of the pictures of an HTML page."
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.alts = set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs.get('id'), attrs.get('name')} - {None}
        if tag == 'a' and 'href' in attrs: self.links.append(attrs['href'] or '')
        elif tag == 'link' and attrs.get('href'): self.loads.append(attrs['href'])
        if attrs.get('src'): self.loads.append(attrs['src'])
        if tag == 'img': self.alts.append((attrs.get('alt') or '').strip())


def lost(target, place, pages):
    "Why a link does not lead there, or None."
    target = Path(os.path.normpath(target))
    if target.is_dir(): target /= 'index.html'
    if not target.exists(): return 'does not exist'
    if place and target in pages and place not in pages[target].ids: return 'names no place in that page'


def check_pages(site):
    "Every link leads to a place that exists, no page loads anything from another host, every picture has a text."
    pages = {p: Page(p.read_text(encoding='utf-8')) for p in site.rglob('*.html')}
    problems = [f'{path.relative_to(site)}: a picture has no text that describes it (#| fig-alt: ...): {alt!r}'
                for path, page in pages.items() for alt in page.alts if len(alt.split()) < MIN_WORDS]
    for path, page in pages.items():
        for address in page.links + page.loads:
            url = urlsplit(address)
            if url.scheme == 'data': continue
            if url.scheme or url.netloc:
                ours = any(host in address for host in (CFG.doc_host, CFG.git_url))
                why = 'is loaded from another host' if address in page.loads else ours and 'leads nowhere'
            else: why = lost(path.parent/unquote(url.path) if url.path else path, unquote(url.fragment), pages)
            if why: problems.append(f'{path.relative_to(site)}: {address} {why}')
    for path in (site/'site_libs').rglob('*.css'):
        loaded = re.findall(r'(?:@import\s*|url\()["\']?(https?:[^)"\']+)', path.read_text(encoding='utf-8'))
        problems += [f'{path.relative_to(site)}: loads {address}' for address in loaded]
    if problems: sys.exit('\n'.join(sorted(set(problems))))
    pictures = sum(len(p.alts) for p in pages.values())
    print(f'{len(pages)} pages: links and pictures are whole, nothing is from another host, {pictures} pictures')


def main():
    check_sidebar()
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp).resolve()
        copy_checkout(copy)
        run(copy, '-c', 'from nbdev.doclinks import nbdev_export; nbdev_export()')
        if '--stored' not in sys.argv: run(copy, 'tools/notebooks.py', 'run')
        run(copy, 'tools/shown.py')
        write_source_pages(copy/'_proc')
        link_inside(copy/'_proc')
        check_figures(copy/'_proc')
        site = render(copy/'_proc')
        check_pages(site)
        shutil.rmtree(CFG.doc_path, ignore_errors=True)
        shutil.copytree(site, CFG.doc_path)
    print('the site is _docs/index.html; to search in it, serve it: python3 -m http.server -d _docs')


if __name__ == '__main__': main()
