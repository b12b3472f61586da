"""Open every page of _docs in a browser, as a phone and as a desk, light and dark, and say what is wrong.

    browser.py [PATTERN] [--pictures FOLDER]    only pages whose path contains PATTERN; FOLDER gets a PNG of each, in all four ways

A page is wrong if it is wider than the window, if its console has an error, if a formula is not typeset, or if a text can hardly be told from
what is behind it. The browser is Chromium or Chrome (Debian and Ubuntu: apt install chromium), driven by its own DevTools protocol.
"""
import argparse, base64, functools, json, os, shutil, signal, subprocess, sys, tempfile, threading, time, urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from websocket import create_connection, WebSocketTimeoutException

NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'
FLAGS = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync '
         '--hide-scrollbars --mute-audio --disable-dev-shm-usage --remote-debugging-port=0').split()
PHONE, DESK = (390, 844), (1280, 900)
MIN_CONTRAST = 3     # WCAG's least for large text


signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped'))      # so that the browser goes too


def find_browser():
    "The path of a browser, or None."
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    "One tab of a browser that nobody has used before; a context manager."
    def __enter__(self):
        path = find_browser()
        if path is None: raise RuntimeError('there is no Chromium: install it (Debian and Ubuntu: apt install chromium)')
        self.folder, self.n, self.events = tempfile.TemporaryDirectory(ignore_cleanup_errors=True), 0, []
        home = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')} | {'HOME': self.folder.name}
        self.process = subprocess.Popen([path, *FLAGS, f'--user-data-dir={self.folder.name}/profile', 'about:blank'], env=home,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = Path(self.folder.name, 'profile/DevToolsActivePort')
        self.wait(lambda: port.exists() and len(port.read_text().splitlines()) == 2, 'the browser to start')
        host = f'127.0.0.1:{port.read_text().split()[0]}'
        ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        tab = self.wait(lambda: next((t for t in json.load(ask.open(f'http://{host}/json/list')) if t['type'] == 'page'), None), 'a tab')
        self.socket = create_connection(tab['webSocketDebuggerUrl'], timeout=120, suppress_origin=True, http_no_proxy=['127.0.0.1'])
        for domain in 'Page', 'Runtime', 'Log', 'Network': self.call(f'{domain}.enable')
        return self

    def __exit__(self, *error):
        try: self.call('Browser.close'); self.process.wait(20)
        except Exception: self.process.kill(); self.process.wait()
        self.folder.cleanup()

    def wait(self, condition, what, seconds=120, pause=0.2):
        "What `condition` gives as soon as it is true."
        end = time.time() + seconds
        while time.time() < end:
            if found := condition(): return found
            time.sleep(pause)
        raise RuntimeError(f'waited {seconds} s for {what}')

    def call(self, method, **parameters):
        "Send one command of the protocol and return its result; events that arrive meanwhile are kept."
        self.n += 1
        self.socket.send(json.dumps(dict(id=self.n, method=method, params=parameters)))
        while True:
            message = json.loads(self.socket.recv())
            if message.get('id') == self.n: break
            if 'method' in message: self.events.append(message)
        if 'error' in message: raise RuntimeError(f'{method}: {message["error"]["message"]}')
        return message['result']

    def js(self, code):
        "The value of a JavaScript expression, awaited if it is a promise."
        out = self.call('Runtime.evaluate', expression=code, awaitPromise=True, returnByValue=True)
        if 'exceptionDetails' in out: raise RuntimeError(out['exceptionDetails'].get('exception', {}).get('description') or out['exceptionDetails']['text'])
        return out['result'].get('value')

    def size(self, width, height):
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name):
        "Make `name`, 'light' or 'dark', what the reader prefers."
        self.call('Emulation.setEmulatedMedia', features=[dict(name='prefers-color-scheme', value=name)])

    def go(self, address):
        "Open a page and wait until it is loaded; the errors of earlier pages are forgotten."
        self.js('undefined'); self.events.clear()
        failed = self.call('Page.navigate', url=address).get('errorText')
        if failed: raise RuntimeError(f'{address}: {failed}')
        self.wait(lambda: self.js('document.readyState') == 'complete' and self.js('location.href') != 'about:blank', f'{address} to load', pause=0.05)

    def errors(self):
        "What the console has of errors."
        self.js('undefined')    # lets the events come in
        found = []
        for event in self.events:
            p = event['params']
            if event['method'] == 'Runtime.exceptionThrown': found.append(p['exceptionDetails'].get('exception', {}).get('description') or p['exceptionDetails']['text'])
            if event['method'] == 'Runtime.consoleAPICalled' and p['type'] in ('error', 'assert'): found.append(' '.join(str(a.get('value', a.get('description'))) for a in p['args']))
            if event['method'] == 'Log.entryAdded' and p['entry']['level'] == 'error': found.append(f'{p["entry"]["text"]} {p["entry"].get("url", "")}'.strip())
        return found

    def key(self, name):
        "Press a key where the focus is."
        code = {'ArrowRight': 39, 'ArrowLeft': 37, 'End': 35, 'Home': 36}[name]
        for kind in 'keyDown', 'keyUp': self.call('Input.dispatchKeyEvent', type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def picture(self, path, whole=False):
        "Store what is seen, or the whole page, as a PNG."
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(base64.b64decode(self.call('Page.captureScreenshot', captureBeyondViewport=whole)['data']))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


def serve(folder):
    "A server of a folder on a free port of this machine, in a thread, and its address."
    server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f'http://127.0.0.1:{server.server_port}'


STILL = "document.head.appendChild(document.createElement('style')).textContent = '*{transition: none !important; animation: none !important}'"
TYPESET = "new Promise(done => typeof MathJax === 'undefined' ? done() : MathJax.Hub.Queue(() => done()))"
# Runs in the page. {problem: example}; `dark` says which it should be.
LOOK = '''((width, dark, least) => {
  const out = [], root = document.documentElement, say = e => (e.id ? '#' + e.id : e.tagName.toLowerCase() + (e.className && e.className.baseVal === undefined ? '.' + String(e.className).trim().split(/\\s+/).join('.') : ''));
  if (root.scrollWidth > width) {
    const wide = [...document.body.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > width + 1 && !e.closest('#quarto-sidebar')).map(say);
    out.push(`is ${root.scrollWidth} pixels wide: ` + [...new Set(wide)].slice(0, 4).join(', '));
  }
  const bare = [...document.querySelectorAll('span.math.inline, span.math.display')].filter(f => !f.querySelector('.MathJax') || f.querySelector('.MathJax_Error, .merror'));
  if (bare.length) out.push(`${bare.length} formulas are not typeset: ${bare[0].textContent.slice(0, 80)}`);
  const parse = c => { const v = (c.match(/[\\d.]+/g) || [0,0,0,0]).map(Number); if (c.startsWith('color(')) for (const i of [0,1,2]) v[i] *= 255; return v.length > 3 ? v : [...v, 1]; };
  const over = (a, b) => [0,1,2].map(i => a[i]*a[3] + b[i]*(1 - a[3]));
  const light = c => { const [r,g,b] = c.map(v => (v /= 255) <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4); return .2126*r + .7152*g + .0722*b; };
  const behind = e => { const layers = []; for (let n = e; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor); if (c[3] > 0) layers.push(c); if (c[3] === 1) break; }
    return layers.reverse().reduce((under, c) => over(c, under), [255,255,255]); };
  if ((light(behind(document.body)) < .2) !== dark) out.push(`is not ${dark ? 'dark' : 'light'}`);
  const faint = new Map(), seen = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; n = walk.nextNode();) {
    const e = n.parentElement;
    if (!n.data.trim() || e.closest('script, style, noscript, svg, .MathJax_Preview, .MJX_Assistive_MathML')) continue;
    const kind = say(e) + ' in ' + say(e.parentElement);
    if (seen.has(kind)) continue;
    if (!e.checkVisibility({visibilityProperty: true, opacityProperty: true}) || e.getBoundingClientRect().width < 2) continue;
    seen.add(kind);
    const style = getComputedStyle(e), back = behind(e), front = over(parse(style.color), back), [a, b] = [light(front), light(back)].sort((p, q) => q - p);
    if ((a + .05)/(b + .05) < least && !faint.has(say(e))) faint.set(say(e), `${((a + .05)/(b + .05)).toFixed(1)}: ${n.data.trim().slice(0, 40)}`);
  }
  for (const [who, what] of faint) out.push(`contrast of ${who} is ${what}`);
  return out;
})'''


def look(browser, address, pictures=None):
    "What is wrong with one page; `pictures` is how PNGs of it begin."
    problems = []
    ways = [(PHONE, ('light', 'dark')), (DESK, ('dark', 'light'))]
    for (width, height), schemes in ways[:1] if '/source/' in address else ways:       # sources are all alike
        browser.size(width, height)
        browser.scheme(schemes[0])
        browser.go(address)
        browser.js(STILL)
        browser.js(TYPESET)
        for scheme in schemes:
            browser.scheme(scheme)
            browser.js('new Promise(done => setTimeout(done, 120))')     # the page reads its own background a moment later
            found = browser.js(f'{LOOK}({width}, {json.dumps(scheme == "dark")}, {MIN_CONTRAST})')
            problems += [f'{width} pixels, {scheme}: {p}' for p in found]
            if pictures: browser.picture(f'{pictures}-{width}-{scheme}.png')
        problems += [f'{width} pixels: error in the console: {e}' for e in browser.errors()]
    return list(dict.fromkeys(problems))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pattern', nargs='?', default='')
    parser.add_argument('--site', default=str(Path(__file__).resolve().parents[1]/'_docs'), help='the folder of the site')
    parser.add_argument('--pictures', help='a folder for a PNG of each page in each of the four ways')
    args = parser.parse_args()
    site, start, failed = Path(args.site), time.time(), 0
    pages = sorted(p.relative_to(site).as_posix() for p in site.rglob('*.html') if args.pattern in p.relative_to(site).as_posix())
    if not pages: sys.exit(f'protoflow: no pages in {site.name}: make docs')
    if not find_browser(): sys.exit('protoflow: the pages were not looked at: there is no Chromium (Debian and Ubuntu: apt install chromium)')
    server, address = serve(site)
    with Browser() as browser:
        for page in pages:
            problems = look(browser, f'{address}/{page}', args.pictures and Path(args.pictures)/page.removesuffix('.html').replace('/', '-'))
            failed += bool(problems)
            for p in problems: print(f'{page}: {p}', flush=True)
    server.shutdown()
    print(f'{len(pages)} pages in a browser, {failed} with problems, {time.time() - start:.0f} s')
    sys.exit(failed > 0)


if __name__ == '__main__': main()
