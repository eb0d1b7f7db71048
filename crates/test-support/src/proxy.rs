//! A network that fails on demand: [`FaultProxy`] stands before a server and can hold back all bytes,
//! or let nobody through, as a partition does.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

/// How soon a change is noticed.
const TICK: Duration = Duration::from_millis(10);

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Network {
    /// They go through.
    Whole = 0,
    /// They stay where they are: connections stay open, new ones are taken, nothing comes.
    Partitioned = 1,
    /// Every connection is cut, and new ones at once.
    Cut = 2,
}

/// A TCP proxy on a port of its own. Dropped, it ends.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    network: AtomicU8,
    ended: AtomicBool,
}

impl State {
    fn is(&self, network: Network) -> bool {
        self.network.load(Ordering::Relaxed) == network as u8
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.is(Network::Cut)
    }
}

impl FaultProxy {
    /// Before what listens on `port` of this machine.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, port, &shared));
        Self { port: own, state }
    }

    /// Where it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// From now on the network is so.
    pub fn set(&self, network: Network) {
        self.state.network.store(network as u8, Ordering::Relaxed);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        // Wakes the one that accepts.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn accept(listener: &TcpListener, port: u16, state: &Arc<State>) {
    for near in listener.incoming() {
        if state.ended.load(Ordering::Relaxed) {
            return;
        }
        let Ok(near) = near else { continue };
        let state = Arc::clone(state);
        thread::spawn(move || join(&near, port, &state));
    }
}

fn join(near: &TcpStream, port: u16, state: &Arc<State>) {
    while state.is(Network::Partitioned) {
        thread::sleep(TICK);
    }
    if state.is_over() {
        return;
    }
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
        return;
    };
    let (Ok(from_near), Ok(to_far)) = (near.try_clone(), far.try_clone()) else {
        return;
    };
    let shared = Arc::clone(state);
    let there = thread::spawn(move || pass(from_near, to_far, &shared));
    if let (Ok(from_far), Ok(to_near)) = (far.try_clone(), near.try_clone()) {
        pass(from_far, to_near, state);
    }
    let _ = there.join();
}

/// One direction, until either end is gone or the network is cut.
fn pass(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let _ = from.set_read_timeout(Some(TICK));
    let _ = to.set_nodelay(true);
    let mut buffer = vec![0; 64 * 1024];
    while !state.is_over() {
        if state.is(Network::Partitioned) {
            thread::sleep(TICK);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                while state.is(Network::Partitioned) && !state.is_over() {
                    thread::sleep(TICK);
                }
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
