//! Real clients.

use super::*;

#[tokio::test]
async fn curl_reaches_what_is_allowed_and_reads_why_not() {
    let Some(curl) = tool::find("curl") else { return };
    let origin = Origin::http([Reply::chunked(["hel", "lo"]), Reply::ok("posted"), Reply::ok("put")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let proxy = format!("http://{}", gateway.proxy());
    let url = |path: &str| format!("http://good.test:{}{path}", origin.port());
    // Two URLs on one connection to the proxy, the second with a body, under Expect: 100-continue.
    let ran = tool::run(
        &curl,
        [
            "-sS",
            "-x",
            &proxy,
            &url("/a/../b"),
            "--next",
            "-sS",
            "-x",
            &proxy,
            "-H",
            "Expect: 100-continue",
            "-d",
            "x=1",
            &url("/p"),
        ],
    )
    .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "helloposted"), "{}", ran.stderr);
    assert!(origin.received(0).starts_with("GET /b HTTP/1.1\r\n"), "{}", origin.received(0));
    assert!(origin.received(0).ends_with("x=1"));
    let ran = tool::run(&curl, ["-sS", "-x", &proxy, "-i", "http://denied.test/x"]).await;
    assert!(
        ran.stdout.starts_with("HTTP/1.1 403 ") && ran.stdout.contains("x-deny-reason: default_deny"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("add \\\"denied.test\\\" to hostRules"), "{}", ran.stdout);
    // A prior-knowledge HTTP/2 client and one that offers h2c are told, not hung.
    let ran = tool::run(
        &curl,
        ["-sS", "-x", &proxy, "--http2", "-o", "/dev/null", "-w", "%{http_code}", &url("/")],
    )
    .await;
    assert!(ran.stdout == "400" || ran.stdout == "200", "{} {}", ran.stdout, ran.stderr);
    let ran = tool::run(&curl, ["-sS", "-p", "-x", &proxy, &url("/tunnel")]).await;
    assert_eq!((ran.code, ran.stdout.is_empty()), (0, false), "{}", ran.stderr);
}

#[tokio::test]
async fn python_requests_works_through_the_proxy() {
    let Some(python) = tool::find("python") else { return };
    let origin = Origin::http([Reply::ok("one"), Reply::chunked(["t", "wo"]), Reply::ok("three")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let script = "
import sys, requests
proxy, url = sys.argv[1:]
session = requests.Session()
session.trust_env = False
session.proxies = {'http': proxy, 'https': proxy}
print(session.get(url + '/1', timeout=10).text)
print(session.post(url + '/2', data=iter([b'a', b'bc']), timeout=10).text)
print(session.post(url + '/3', data=b'x' * 100000, timeout=10).text)
denied = session.get('http://denied.test/', timeout=10)
print(denied.status_code, denied.headers['x-deny-reason'], denied.json()['error']['target'])
try:
    session.get('https://denied.test/', timeout=10)
except requests.exceptions.ProxyError as error:
    print('403' in str(error))
";
    let (proxy, url) = (format!("http://{}", gateway.proxy()), format!("http://good.test:{}", origin.port()));
    let ran = tool::run(&python, ["-c", script, &proxy, &url]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "one\ntwo\nthree\n403 default_deny denied.test:80\nTrue\n");
    assert_eq!(origin.connections(), 1);
    let calls = gateway.calls(5).await;
    let up: Vec<&Value> = calls.iter().map(|call| &call["bytes_up"]).take(3).collect();
    assert_eq!(up, [&json!(0), &json!(3), &json!(100_000)]);
}

#[tokio::test]
async fn python_websockets_works_through_the_proxy() {
    let Some(python) = tool::find("python") else { return };
    // The script takes any free port.
    let gateway = Gateway::start("mode: Limited\nhostRules: [127.0.0.8]\nports: [1-65535]\n").await;
    // The library asks for a tunnel; the second client asks in absolute form, as some do for ws://.
    let script = "
import asyncio, sys, socket, websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
proxy = sys.argv[1]

async def echo(socket):
    async for message in socket:
        await socket.send(message[::-1])

async def converse(client):
    await client.send('hello')
    print(await client.recv())
    await client.send(b'x' * 300000)
    print(len(await client.recv()))
    await client.ping()

async def absolute(url):
    host, proxy_port = proxy.removeprefix('http://').split(':')
    class Rewrite(websockets.client.ClientProtocol):
        def send_request(self, request):
            request.path = url.replace('ws:', 'http:')
            super().send_request(request)
    raw = socket.create_connection((host, int(proxy_port)))
    raw.setblocking(False)
    import websockets.asyncio.client as library
    previous = library.ClientProtocol
    library.ClientProtocol = Rewrite
    try:
        return await connect(url, sock=raw, proxy=None)
    finally:
        library.ClientProtocol = previous

async def main():
    async with serve(echo, '127.0.0.8', 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f'ws://127.0.0.8:{port}/ws'
        async with connect(url, proxy=proxy) as client:
            await converse(client)
        client = await absolute(url)
        await converse(client)
        await client.close()
        print(client.close_code)
        try:
            await connect('ws://denied.test/', proxy=proxy)
        except websockets.exceptions.InvalidProxyStatus as error:
            print(error.response.status_code)

asyncio.run(main())
";
    let ran = tool::run(&python, ["-c", script, &format!("http://{}", gateway.proxy())]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "olleh\n300000\nolleh\n300000\n1000\n403\n");
    let calls = gateway.calls(4).await;
    let upgraded =
        |call: &&Value| call["status"] == 101 && call["path"] == "/ws" && call["kind"] == "request";
    assert_eq!(calls.iter().filter(upgraded).count(), 2, "{calls:#?}");
    assert!(
        calls.iter().filter(|call| call["decision"] == "allow").all(|call| call["outcome"] == "ok"),
        "{calls:#?}"
    );
}
