//! Authorities and request targets: no panic, and one canonical form.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use sluicegate::addr::Target;
use sluicegate::wire::request_target::RequestTarget;

fuzz_target!(|text: &str| {
    if let Ok(target) = Target::parse(text) {
        assert_eq!(Target::parse(&target.to_string()), Ok(target));
    }
    for method in [Method::CONNECT, Method::GET, Method::OPTIONS] {
        match RequestTarget::parse(&method, text) {
            Ok(RequestTarget::Authority(target)) => assert_eq!(Target::parse(text), Ok(target)),
            Ok(RequestTarget::Absolute(target, resource)) => {
                let again = format!("http://{target}{resource}");
                let expected = RequestTarget::Absolute(target, resource);
                assert_eq!(RequestTarget::parse(&method, &again), Ok(expected));
            }
            Ok(RequestTarget::Origin(resource)) => {
                let again = resource.to_string();
                assert_eq!(RequestTarget::parse(&method, &again), Ok(RequestTarget::Origin(resource)));
            }
            Ok(RequestTarget::Asterisk) => assert_eq!(text, "*"),
            Err(_) => {}
        }
    }
});
