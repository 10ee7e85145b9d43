//! The gate on everything that flows out of a sandbox.

pub mod addr;
pub mod policy;
pub mod source;
pub mod wire;

#[cfg(feature = "proxy")]
pub mod admin;
#[cfg(feature = "proxy")]
pub mod app;
#[cfg(feature = "proxy")]
pub mod audit;
#[cfg(feature = "proxy")]
pub mod cli;
#[cfg(feature = "proxy")]
pub mod config;
#[cfg(feature = "proxy")]
pub mod corpus;
#[cfg(feature = "proxy")]
pub mod drain;
#[cfg(feature = "proxy")]
pub mod explain;
#[cfg(feature = "proxy")]
pub mod identity;
#[cfg(feature = "proxy")]
pub mod live;
#[cfg(feature = "proxy")]
pub mod metrics;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "proxy")]
pub mod schema;
#[cfg(feature = "proxy")]
pub mod secrets;
#[cfg(feature = "proxy")]
pub mod upstream;
