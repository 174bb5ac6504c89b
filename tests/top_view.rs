//! The tests of what the `top` example shows, which are beside it: examples are built for tests, but their own are not run.

#[allow(dead_code, unused_imports)] // What the example needs beyond its tests.
#[path = "../examples/top/view/mod.rs"]
mod view;
