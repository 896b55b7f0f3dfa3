// SPDX-License-Identifier: Apache-2.0
//! An instance called paris, as clients of the control socket see it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vita::clock::Instant;

use vita::leader::rundir::RunDir;
use vita::leader::{Handler, Server};

/// Runs `act` with the root of a run directory while another thread serves there.
pub fn while_serving(handler: &mut (dyn Handler + Send), act: impl FnOnce(&Path)) {
    let root = tempfile::tempdir().unwrap();
    let mut run_dir = RunDir::create(root.path()).unwrap();
    let mut server = Server::bind(&run_dir.socket()).unwrap();
    run_dir.claim("paris").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let finish = Finish(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                server.service(Instant::now(), handler);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        act(root.path());
        drop(finish);
    });
}

/// Ends the server's thread even if the test fails.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
