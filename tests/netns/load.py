# Twenty clients at once, each one connection after the other, that know no proxy. Told by lines:
#   forever    each goes on until `stop`; prints a line once every one has had a success
#   stop       prints what came of it, when the last attempt has ended
#   times N    each makes N attempts; prints what came of them
# Arguments: the address; what a whole answer is long; on port 9000 what was asked comes behind it. A client of HTTP/1.0 or of no protocol at all sees the end of its
# answer only as the end of the connection, so one that ends early and orderly is `truncated`: taken for a whole one.
import json, socket, sys, threading

CLIENTS, SIZE = 20, int(sys.argv[2])
WAYS = ['HTTP/1.0', 'HTTP/1.1', 'opaque']
WEB = b'GET / HTTP/1.%d\r\nHost: good.test\r\nConnection: close\r\n\r\n'


def attempt(number):
    way = number % 3
    port, ask = (9000, b'\0\1opaque') if way == 2 else (80, WEB % way)
    try:
        with socket.create_connection((sys.argv[1], port), 20) as s:
            s.sendall(ask)
            if way == 2:
                s.shutdown(socket.SHUT_WR)
            got = b''
            while piece := s.recv(65536):
                got += piece
    except OSError:
        return 'failed'
    if way == 2:
        return 'ok' if len(got) == SIZE + len(ask) else 'truncated' if got else 'failed'
    head, _, body = got.partition(b'\r\n\r\n')
    if b' 200 ' not in head.split(b'\r\n')[0] or not _:
        return 'failed'
    if b'chunked' in head.lower():
        whole = body.endswith(b'0\r\n\r\n')
        size = sum(len(part) for part in parts(body))
        return 'failed' if not whole else 'ok' if size == SIZE else 'truncated'
    return 'ok' if len(body) == SIZE else 'failed' if b'content-length' in head.lower() else 'truncated'


def parts(body):
    while body:
        size, _, body = body.partition(b'\r\n')
        yield body[:int(size or b'0', 16)]
        body = body[int(size or b'0', 16) + 2:]


def say(**what):
    print(json.dumps(what), flush=True)


def client(number, attempts, stop, results):
    while not stop.is_set() and attempts != 0:
        results.append((number, attempt(number)))
        attempts -= 1


def begin(attempts):
    stop, results = threading.Event(), []
    threads = [threading.Thread(target=client, args=(n, attempts, stop, results)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    return stop, results, threads


def finish(stop, results, threads):
    for thread in threads:
        thread.join()
    counts = {kind: sum(found == kind for _, found in results) for kind in ('ok', 'failed')}
    cut = sorted({WAYS[number % 3] for number, found in results if found == 'truncated'})
    say(**counts, truncated=cut)


for line in sys.stdin:
    word, *rest = line.split()
    if word == 'forever':
        running = begin(-1)
        while len({number for number, found in list(running[1]) if found == 'ok'}) < CLIENTS:
            threading.Event().wait(0.01)
        say(running=True)
    elif word == 'stop':
        running[0].set()
        finish(*running)
    elif word == 'times':
        finish(*begin(int(rest[0])))
