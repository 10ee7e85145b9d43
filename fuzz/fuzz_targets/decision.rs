//! Policies and questions near each other: the compiled decision is the naive one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluicegate::policy::oracle::{Case, Choices};

fuzz_target!(|bytes: &[u8]| {
    if let Err(difference) = Case::draw(&mut Choices::Bytes(bytes)).compare() {
        panic!("{difference}");
    }
});
