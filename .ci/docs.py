"""The site in _docs/: `python .ci/docs.py`. Runs the notebooks in a copy first, so that the site shows the code as it is."""
import os, re, shutil, subprocess, sys, tarfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from notebooks import ROOT, execute, notebooks

BUILD = ROOT/'_build'

def copy_project():
    "A copy of all that the site is made of, so that the checkout stays as it is."
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir()
    for name in ('nbs', 'protoflow'): shutil.copytree(ROOT/name, BUILD/name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for name in ('settings.ini', 'pyproject.toml', '_quarto.yml'): shutil.copy(ROOT/name, BUILD/name)

def check_sidebar():
    "Every notebook is in the sidebar, and everything in the sidebar is a notebook."
    listed = set(re.findall(r'[\w/]+\.ipynb', (BUILD/'_quarto.yml').read_text()))
    there = {str(p.relative_to(BUILD/'nbs')) for p in notebooks(BUILD/'nbs')}
    if listed != there: sys.exit(f'_quarto.yml and nbs/ differ: only listed {sorted(listed-there)}, only there {sorted(there-listed)}')

def execute_all():
    "Run every notebook of the copy, two at a time."
    os.environ.update(OMP_NUM_THREADS='1', PYTHONPATH=str(BUILD), TQDM_DISABLE='1')
    def one(p):
        begun = time.time()
        execute(p)
        print(f'ran {p.relative_to(BUILD)}: {time.time()-begun:.1f} s', flush=True)
    with ThreadPoolExecutor(2) as pool: list(pool.map(one, notebooks(BUILD/'nbs')))

def process():
    "Fill in signatures and docstrings: nbs/ → _proc/."
    subprocess.run([sys.executable, '-c', 'from nbdev.serve import proc_nbs; proc_nbs(n_workers=0, force=True)'], cwd=BUILD, check=True)

def render():
    "Quarto where there is one, else smalldocs; both read _quarto.yml."
    if shutil.which('quarto'): subprocess.run(['quarto', 'render', '_proc', '--no-execute'], cwd=BUILD, check=True)
    else:
        smalldocs = Path(sys.executable).with_name('smalldocs')
        subprocess.run([smalldocs, 'render', '--quiet', '_proc'], cwd=BUILD, check=True)
        if subprocess.run([smalldocs, 'check', '_proc'], cwd=BUILD, capture_output=True, text=True).returncode: print('smalldocs check has remarks: run it in _build')
    return BUILD/'_proc/_docs'

def localise_katex(site):
    "Formulas without a network: KaTeX's own files beside the pages."
    if not shutil.which('npm'): return print('no npm here: formulas on the site will ask a server for KaTeX')
    packed = subprocess.run(['npm', 'pack', '--silent', 'katex@0.16'], cwd=BUILD, capture_output=True, text=True)
    archives = sorted(BUILD.glob('katex-*.tgz'))
    if packed.returncode or not archives: return print('KaTeX could not be fetched: formulas on the site will ask a server for it')
    with tarfile.open(archives[-1]) as t: t.extractall(BUILD/'katex', filter='data')
    shutil.copytree(BUILD/'katex/package/dist', site/'katex', dirs_exist_ok=True)
    for page in [*site.rglob('*.html'), *site.rglob('*.js')]:
        if 'katex' in page.parts: continue
        up = '../'*(len(page.relative_to(site).parts)-1)
        text = page.read_text(encoding='utf-8')
        local = re.sub(r'https://[^"\'\s]*?katex@[^/"\']*/dist/', f'{up}katex/', text)
        local = re.sub(r'(<(?:link|script)[^>]*katex/[^>]*?)\s+integrity="[^"]*"', r'\1', local)
        if local != text: page.write_text(local, encoding='utf-8')

def check_links(site):
    "Exit with a list if a page points at a file that is not there, or asks another server for a script or a style."
    broken, outside = [], []
    for page in site.rglob('*.html'):
        text = page.read_text(encoding='utf-8')
        outside += [f'{page.relative_to(site)}: {u}' for u in re.findall(r'<(?:script|img)[^>]+src="(https?://[^"]+)"|<link[^>]+rel="stylesheet"[^>]+href="(https?://[^"]+)"', text) for u in u if u]
        for link in re.findall(r'<(?:a|link|img|script)\b[^>]*?(?:href|src)="([^"#?]+)', text):
            if re.match(r'\w+:|//', link) or not link: continue
            target = site/link.lstrip('/') if link.startswith('/') else page.parent/link
            if not target.exists(): broken.append(f'{page.relative_to(site)} → {link}')
    for u in sorted(set(outside)): print('asks another server:', u)
    if broken: sys.exit('broken links:\n' + '\n'.join(sorted(set(broken))))

def main():
    copy_project(); check_sidebar(); execute_all(); process()
    site = render()
    localise_katex(site); check_links(site)
    shutil.rmtree(ROOT/'_docs', ignore_errors=True)
    shutil.copytree(site, ROOT/'_docs')
    print(f'site: {ROOT/"_docs/index.html"}')

if __name__ == '__main__': main()
