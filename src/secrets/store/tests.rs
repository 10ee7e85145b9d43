//! The values of secrets over time; the clock stands still unless a test moves it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tokio::time::advance;
use zeroize::Zeroizing;

use super::*;
use crate::addr::Endpoint;
use crate::policy::document::{ClientCredentials, ManagedIdentity, SecretSource};
use crate::secrets::fetch::{Answer, Call, FetchError};

/// A service that gives numbered tokens.
struct Service {
    asked: AtomicUsize,
    /// How many answers it may give.
    gate: Semaphore,
    /// How long its tokens live; None: it fails.
    life: Mutex<Option<u64>>,
}

impl Service {
    /// One that answers at once with tokens of this life.
    fn answering(life: u64) -> Arc<Self> {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS / 2);
        Arc::new(Self { asked: AtomicUsize::new(0), gate, life: Mutex::new(Some(life)) })
    }

    /// One that answers when it is let.
    fn silent() -> Arc<Self> {
        let gate = Semaphore::new(0);
        Arc::new(Self { asked: AtomicUsize::new(0), gate, life: Mutex::new(Some(1000)) })
    }

    /// How often it was asked.
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on its tokens live this long; None: it fails.
    fn gives(&self, life: Option<u64>) {
        *self.life.lock().unwrap() = life;
    }

    /// Secrets that ask it.
    fn secrets(self: &Arc<Self>) -> Secrets {
        let endpoint = Endpoint::parse("http://127.0.0.1/token").unwrap();
        Secrets::new(Allowed::ANY, Some(Platform::Metadata { endpoint }), Arc::clone(self) as Arc<dyn Fetch>)
    }
}

impl Fetch for Service {
    fn fetch(&self, _: Call) -> Pin<Box<dyn Future<Output = Result<Answer, FetchError>> + Send + '_>> {
        Box::pin(async {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.gate.acquire().await.unwrap().forget();
            let life = *self.life.lock().unwrap();
            let Some(life) = life else { return Err(FetchError::Broken) };
            let body = format!(r#"{{"access_token":"token-{number}","expires_in":{life}}}"#);
            Ok(Answer { status: StatusCode::OK, body: Zeroizing::new(body.into_bytes()) })
        })
    }
}

/// A token of an identity for this resource.
fn identity(resource: &str) -> Arc<KeySource> {
    Arc::new(KeySource::ManagedIdentity(ManagedIdentity { resource: resource.into(), identity: None }))
}

/// The contents of a file.
fn file(path: &Path) -> Arc<KeySource> {
    Arc::new(KeySource::Given(SecretSource::File(path.to_owned())))
}

/// The value of a source as text.
async fn revealed(secrets: &Secrets, source: &Arc<KeySource>) -> Result<String, Unavailable> {
    let value = secrets.reveal(source).await?;
    Ok(String::from_utf8(value.expose().to_vec()).unwrap())
}

/// Moves the clock by so many seconds.
async fn pass(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

/// Waits until the service was asked so often.
async fn until_asked(service: &Service, times: usize) {
    while service.asked() < times {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_used_until_the_last_fifth_of_its_life_and_then_renewed() {
    for (life, used) in [(1000, 799), (10, 7), (36_000, 35_699)] {
        let (service, source) = (Service::answering(life), identity("r"));
        let secrets = service.secrets();
        for _ in 0..3 {
            assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-1");
        }
        pass(used).await;
        assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-1");
        pass(1).await;
        assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-2");
        assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-2");
        assert_eq!(service.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_token_is_used_while_it_is_good_and_not_a_moment_longer() {
    let (service, source) = (Service::answering(1000), identity("r"));
    let secrets = service.secrets();
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-1");
    service.gives(None);
    pass(900).await;
    for _ in 0..5 {
        assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-1");
    }
    assert_eq!(service.asked(), 2, "a failed renewal is not tried again within a second");
    pass(99).await;
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-1");
    pass(1).await;
    let error = revealed(&secrets, &source).await.unwrap_err();
    assert!(matches!(error, Unavailable::Fetch { .. }), "{error}");
    service.gives(Some(1000));
    pass(1).await;
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-5");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_tried_again_within_a_second() {
    let (service, source) = (Service::answering(1000), identity("r"));
    let secrets = service.secrets();
    service.gives(None);
    for attempts in 1..4 {
        for _ in 0..20 {
            assert!(revealed(&secrets, &source).await.is_err());
        }
        assert_eq!(service.asked(), attempts);
        pass(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn uses_at_the_same_time_share_one_attempt() {
    let (service, source) = (Service::silent(), identity("r"));
    let secrets = service.secrets();
    for fails in [false, true] {
        service.gives(Some(1000).filter(|_| !fails));
        pass(2000).await;
        let before = service.asked();
        let mut uses = JoinSet::new();
        for _ in 0..100 {
            let (secrets, source) = (secrets.clone(), Arc::clone(&source));
            uses.spawn(async move { revealed(&secrets, &source).await.is_ok() });
        }
        until_asked(&service, before + 1).await;
        service.gate.add_permits(100);
        while let Some(ended) = uses.join_next().await {
            assert_eq!(ended.unwrap(), !fails);
        }
        assert_eq!(service.asked(), before + 1);
        service.gate.forget_permits(100);
    }
}

#[tokio::test(start_paused = true)]
async fn other_secrets_do_not_wait_for_one_that_hangs() {
    let service = Service::silent();
    let secrets = service.secrets();
    let hangs = tokio::spawn({
        let secrets = secrets.clone();
        async move { revealed(&secrets, &identity("hangs")).await }
    });
    until_asked(&service, 1).await;
    let variable = Arc::new(KeySource::Given(SecretSource::Env("PATH".into())));
    assert!(revealed(&secrets, &variable).await.is_ok());
    hangs.abort();
}

#[tokio::test(start_paused = true)]
async fn a_use_that_goes_leaves_its_attempt_to_the_next() {
    let (service, source) = (Service::silent(), identity("r"));
    let secrets = service.secrets();
    for _ in 0..5 {
        let use_once = revealed(&secrets, &source);
        tokio::select! {
            biased;
            _ = use_once => unreachable!("the service is silent"),
            () = until_asked(&service, 1) => {}
        }
    }
    service.gate.add_permits(1);
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-1");
    assert_eq!(service.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_left_alone_is_begun_anew() {
    let (service, source) = (Service::silent(), identity("r"));
    let secrets = service.secrets();
    tokio::select! {
        biased;
        _ = revealed(&secrets, &source) => unreachable!("the service is silent"),
        () = until_asked(&service, 1) => {}
    }
    pass(1).await;
    service.gate.add_permits(1);
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-2");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_does_not_end_is_given_up() {
    let (service, source) = (Service::silent(), identity("r"));
    let secrets = service.secrets();
    let begun = Instant::now();
    let error = revealed(&secrets, &source).await.unwrap_err();
    assert!(matches!(error, Unavailable::Slow), "{error}");
    assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_does_not_end_holds_one_use_up_and_not_for_long() {
    let (service, source) = (Service::silent(), identity("r"));
    let secrets = service.secrets();
    service.gate.add_permits(1);
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "token-1");
    pass(900).await;
    let begun = Instant::now();
    let (first, second) = tokio::join!(revealed(&secrets, &source), async {
        until_asked(&service, 2).await;
        let value = revealed(&secrets, &source).await;
        (value, begun.elapsed().as_secs())
    });
    assert_eq!(first.unwrap(), "token-1");
    assert_eq!(begun.elapsed().as_secs(), HURRY.as_secs());
    assert_eq!((second.0.unwrap().as_str(), second.1), ("token-1", 0));
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_when_it_changed_and_its_value_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let (source, secrets) = (file(&path), Service::silent().secrets());
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("first\n");
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "first");
    write("other\n");
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "first", "it is looked at once a second");
    pass(1).await;
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "other", "the same size, in place");
    std::fs::remove_file(&path).unwrap();
    pass(1).await;
    let gone = revealed(&secrets, &source).await.unwrap_err().to_string();
    assert!(gone.contains("token`") && !gone.contains("other"), "{gone}");
    write("third");
    pass(1).await;
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "third");
    for (broken, part) in [
        ("", "is empty"),
        ("hunter2\r\nX-Admin: 1", "line break"),
        ("hunter2\n\n", "line break"),
        ("hunter2\0", "control character"),
        ("hunter2\u{fc}", "not ASCII"),
    ] {
        write(broken);
        pass(1).await;
        let error = revealed(&secrets, &source).await.unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains(part) && !said.contains("hunter2"), "{broken:?}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_swapped_as_kubernetes_does_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    for version in ["..1", "..2"] {
        std::fs::create_dir(at(version)).unwrap();
        std::fs::write(at(version).join("token"), version).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/token", at("token")).unwrap();
    let service = Service::silent();
    let allowed = Allowed::only(vec![directory.path().to_owned()], Vec::new());
    let secrets = Secrets::new(allowed, None, service);
    let source = file(&at("token"));
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "..1");
    symlink("..2", at("..new")).unwrap();
    std::fs::rename(at("..new"), at("..data")).unwrap();
    pass(1).await;
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "..2");
    // A link that leads out takes its value away.
    std::fs::remove_file(at("token")).unwrap();
    symlink("/etc/hostname", at("token")).unwrap();
    pass(1).await;
    let error = revealed(&secrets, &source).await.unwrap_err().to_string();
    assert!(error.contains("secrets.allow"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_no_source_of_credentials_either() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("outside");
    std::fs::write(&outside, "hunter2").unwrap();
    std::fs::create_dir(directory.path().join("inside")).unwrap();
    let service = Service::answering(1000);
    let allowed = Allowed::only(vec![directory.path().join("inside")], Vec::new());
    let secrets = Secrets::new(allowed, None, Arc::clone(&service) as Arc<dyn Fetch>);
    for client_secret in [
        SecretSource::File(outside),
        SecretSource::File(directory.path().join("inside/../outside")),
        SecretSource::Env("PATH".into()),
    ] {
        let source = Arc::new(KeySource::ClientCredentials(ClientCredentials {
            token_url: "https://login.example/t".into(),
            client_id: "me".into(),
            client_secret,
            scope: None,
            audience: None,
        }));
        let error = revealed(&secrets, &source).await.unwrap_err().to_string();
        assert!(error.contains("secrets.allow"), "{error}");
    }
    assert_eq!(service.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_service_for_identities_none_is_had_and_the_cure_is_said() {
    let secrets = Secrets::new(Allowed::ANY, None, Service::silent());
    let error = revealed(&secrets, &identity("r")).await.unwrap_err().to_string();
    assert!(error.contains("secrets: {managedIdentity: {endpoint:"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_uses_is_forgotten() {
    let service = Service::answering(86_400);
    let secrets = service.secrets();
    for resource in ["used", "unused"] {
        assert!(revealed(&secrets, &identity(resource)).await.is_ok());
    }
    pass(3000).await;
    assert!(revealed(&secrets, &identity("used")).await.is_ok());
    pass(601).await;
    assert!(revealed(&secrets, &identity("new")).await.is_ok());
    let entries = secrets.0.entries.lock().unwrap();
    assert!(entries.contains_key(&identity("used")) && !entries.contains_key(&identity("unused")));
}

#[tokio::test(start_paused = true)]
async fn a_token_ages_while_the_machine_sleeps() {
    let now = Moment::now();
    let life = Some(Duration::from_secs(100));
    let good = Good { value: Revealed::new(b"t"), given: None, since: now, life };
    assert!(good.lives(now));
    let slept = Moment { wall: now.wall + Duration::from_secs(100), ..now };
    assert!(!good.lives(slept));
    let turned_back = Moment { wall: now.wall - Duration::from_secs(5000), ..now };
    assert!(good.lives(turned_back));
    pass(100).await;
    assert!(!good.lives(Moment { wall: turned_back.wall, ..Moment::now() }));
}

#[tokio::test(start_paused = true)]
async fn s5_nothing_that_is_kept_is_shown() {
    let (service, source) = (Service::answering(1000), identity("r"));
    let secrets = service.secrets();
    let value = secrets.reveal(&source).await.unwrap();
    let shown = format!("{secrets:?} {secrets:#?} {value:?} {source:?}");
    assert!(!shown.contains("token-1"), "{shown}");
}
