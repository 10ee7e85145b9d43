//! Sockets that a service manager hands over.

use crate::kit::client::Client;
use crate::kit::process::{BINARY, Place, Process, command};
use crate::kit::{tool, within};

/// Becomes the gateway with two sockets, as systemd does; `EXTRA` is added to the number of sockets.
const HAND_OVER: &str = r"
import os, socket, sys
held = [socket.create_server(('127.0.0.1', 0)) for _ in range(3)]
for fd, s in enumerate(held):
    os.dup2(s.fileno(), 20 + fd)
for fd in range(3):
    os.dup2(20 + fd, 3 + fd, inheritable=True)
where = ['127.0.0.1:%d' % s.getsockname()[1] for s in held]
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[1])
os.execv(sys.argv[2], [sys.argv[2], 'run', '--policy', 'policy.yaml', '--listen', where[0], '--admin', where[1]])
";

#[tokio::test]
async fn listening_sockets_of_the_service_manager_are_used_and_none_is_left_over() {
    let Some(python) = tool::find("python3") else { return };
    let place = Place::with("mode: Limited\n");
    let hand_over = |sockets: &str| {
        let mut command = command(&python);
        command.args(["-c", HAND_OVER, sockets, BINARY]).current_dir(place.path(""));
        command
    };
    // The ports are bound and listened on already, so it could not open them by itself.
    let gateway = Process::spawn(hand_over("2")).await;
    let refused = Client::connect(gateway.proxy()).await;
    let refused = { refused }.ask("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (403, Some("default_deny")));
    let host = gateway.admin();
    let live = format!("GET /livez HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    assert_eq!(Client::connect(host).await.ask(live).await.status, 200);

    let output = within("the gateway to end", hand_over("3").output()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("hands over a socket on 127.0.0.1:"), "{told}");
}
