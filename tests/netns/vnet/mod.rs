//! Mode `VNet` with two real uplinks: each call takes one of two paths, and packets say which.

mod ask;
mod combined;
mod counters;
mod horizon;
mod kept;
mod mark;
mod modes;
mod operator;
mod outage;
mod parent;
mod ports;
mod rules;
mod server;
mod table;
mod toggles;
mod topology;
mod unplugged;
mod ways;
