"""Open every page of _docs in a browser, as a phone and as a desk, light and dark, and say what is wrong.

    browser.py [PATTERN] [--pictures FOLDER]    only pages whose path contains PATTERN; FOLDER gets a PNG of each way

A page is wrong if it is wider than the window, if its console has an error, if a formula is not typeset, or if axe
finds that somebody could not read or use it: text with a contrast below 4.5 to 1, a link without a name, and so on.
The browser is Chromium or Chrome (Debian and Ubuntu: apt install chromium).
"""
import argparse, functools, os, shutil, sys, threading, time
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
FLAGS = ('--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
         '--disable-component-update --disable-sync --mute-audio --disable-dev-shm-usage').split()
PHONE, DESK = dict(width=390, height=844), dict(width=1280, height=900)
NO_BROWSER = 'there is no Chromium (Debian and Ubuntu: apt install chromium)'


def find_browser():
    "The path of a browser, or None."
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def open_tab():
    "A tab of a browser that nobody has used before."
    path = find_browser()
    if path is None: raise RuntimeError(NO_BROWSER)
    no_proxy = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, env=no_proxy)
        try: yield browser.new_page()
        finally: browser.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


def serve(folder):
    "A server of a folder on a free port of this machine, in a thread, and its address."
    server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f'http://127.0.0.1:{server.server_port}'


STILL = '* {transition: none !important; animation: none !important}'
TYPESET = "new Promise(done => typeof MathJax === 'undefined' ? done() : MathJax.Hub.Queue(() => done()))"
PAINTED = '''scheme => { const light = getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).map(Number);
  return (light[0] + light[1] + light[2] < 384) === (scheme === 'dark'); }'''
# Runs in the page: what is too wide or not typeset.
LOOK = '''width => {
  const problems = [], all = selector => [...document.querySelectorAll(selector)];
  if (document.documentElement.scrollWidth > width) {
    const beyond = e => e.getBoundingClientRect().right > width + 1 && !e.closest('#quarto-sidebar');
    const names = new Set(all('body *').filter(beyond).map(e => e.tagName.toLowerCase() + (e.id ? '#' + e.id : '')));
    problems.push(`is ${document.documentElement.scrollWidth} pixels wide: ${[...names].slice(0, 4).join(', ')}`);
  }
  const typeset = f => f.querySelector('.MathJax') && !f.querySelector('.MathJax_Error, .merror');
  const bare = all('span.math.inline, span.math.display').filter(f => !typeset(f));
  if (bare.length) problems.push(`${bare.length} formulas are not typeset: ${bare[0].textContent.slice(0, 80)}`);
  return problems;
}'''


def accessibility(page):
    "What axe finds against the guidelines of WCAG 2.1, levels A and AA, a line for each kind."
    rules = {'runOnly': {'type': 'tag', 'values': ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}}
    found = Axe().run(page, context={'exclude': [['.MathJax']]}, options=rules).response['violations']
    return [f'{v["id"]}: {len(v["nodes"])} places, such as {v["nodes"][0]["html"][:120]} ({v["help"]})' for v in found]


def look(page, address, pictures=None):
    "What is wrong with one page; `pictures` is how PNGs of it begin."
    problems, console = [], []
    page.on('console', note := lambda message: message.type == 'error' and console.append(message.text))
    page.on('pageerror', raised := lambda error: console.append(str(error)))
    source = '/source/' in address      # all alike, and long: one look, and axe need not read them
    for window in [PHONE] if source else [PHONE, DESK]:
        page.set_viewport_size(window)
        page.goto(address)
        page.add_style_tag(content=STILL)
        page.evaluate(TYPESET)
        for scheme in 'light', 'dark':
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(PAINTED, arg=scheme)
            found = page.evaluate(LOOK, window['width'])
            if not source and window is DESK: found += accessibility(page)      # which takes seconds a page
            problems += [f'{window["width"]} pixels, {scheme}: {p}' for p in found]
            if pictures: page.screenshot(path=f'{pictures}-{window["width"]}-{scheme}.png')
    page.remove_listener('console', note)
    page.remove_listener('pageerror', raised)
    return list(dict.fromkeys(problems + [f'error in the console: {e}' for e in console]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pattern', nargs='?', default='')
    parser.add_argument('--site', default=Path(__file__).resolve().parents[1]/'_docs', help='the folder of the site')
    parser.add_argument('--pictures', help='a folder for a PNG of each page in each of the four ways')
    args = parser.parse_args()
    site, start, failed = Path(args.site), time.time(), 0
    pages = sorted(name for p in site.rglob('*.html') if args.pattern in (name := p.relative_to(site).as_posix()))
    if not pages: sys.exit(f'protoflow: no pages in {site.name}: make docs')
    if not find_browser(): sys.exit(f'protoflow: the pages were not looked at: {NO_BROWSER}')
    server, address = serve(site)
    with open_tab() as tab:
        for page in pages:
            pictures = args.pictures and Path(args.pictures)/page.removesuffix('.html').replace('/', '-')
            problems = look(tab, f'{address}/{page}', pictures)
            failed += bool(problems)
            for p in problems: print(f'{page}: {p}', flush=True)
    server.shutdown()
    print(f'{len(pages)} pages in a browser, {failed} with problems, {time.time() - start:.0f} s')
    sys.exit(failed > 0)


if __name__ == '__main__': main()
