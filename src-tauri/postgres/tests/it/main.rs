//! One test a trap. Every test owns its folder and leaves no server behind.

mod support;

mod lifecycle;
