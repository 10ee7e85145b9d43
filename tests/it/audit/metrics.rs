//! Metrics are well formed and do not grow with what clients say.

use super::*;

#[tokio::test]
async fn what_metrics_say_is_what_promtool_accepts() {
    let Some(promtool) = tool::find("promtool") else { return };
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway =
        Gateway::start(&format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port())).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let host = format!("good.test:{}", origin.port());
    for ask in [
        format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        gateway.client().await.ask(ask).await;
    }
    drop(Client::tunnel(gateway.proxy(), &host).await);
    gateway.record("connection", "good.test").await;
    let (_, metrics) = gateway.admin_get("/metrics").await;
    let mut promtool = tokio::process::Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).await.unwrap();
    let output = within("promtool", promtool.wait_with_output()).await.unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn m1_thousands_of_random_hosts_paths_and_methods_add_no_series() {
    let gateway = Gateway::start("mode: Limited\nhostRules: ['*.ask.test']\n").await;
    let names = |metrics: &str| -> Vec<String> {
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let mut dice = Dice(99);
    let mut ask = async |rounds: usize| {
        let mut client = gateway.client().await;
        for _ in 0..rounds {
            let (host, path) = (dice.roll(), dice.roll());
            let under = if host % 8 == 0 { "ask.test" } else { "test" };
            let request = format!(
                "M{} http://h{host:x}.{under}/p{path:x} HTTP/1.1\r\nHost: h{host:x}.{under}\r\n\r\n",
                path % 97
            );
            assert!(client.ask(request).await.status >= 400);
        }
    };
    ask(50).await;
    let before = names(&gateway.admin_get("/metrics").await.1);
    ask(4000).await;
    assert_eq!(names(&gateway.admin_get("/metrics").await.1), before);
}
