//! A crowd: two thousand connections that say nothing, from several sources, under a common limit on files.

use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use super::meters::counter;
use crate::harness::{Process, Service, committed, eventually, fresh, key_and_handle, sign};
use crate::wire::Wire;

/// The connections of each source, under the 512 that one may have.
const OF_EACH: usize = 400;

/// The sources, in the network of the loopback interface.
const SOURCES: [u8; 5] = [2, 3, 4, 5, 6];

/// The usual soft limit on open files, which a crowd would exhaust.
const FILES_USUAL: u64 = 1_024;

/// What 2 000 connections and their handshakes may take.
const GATHERED: Duration = Duration::from_mins(1);

/// A TCP connection from 127.0.0.`source`.
fn tcp_from(source: u8, port: u16) -> TcpStream {
    // A service that another test starts meanwhile must not get it.
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    bind(&socket, &SocketAddrV4::new([127, 0, 0, source].into(), 0)).unwrap();
    connect(&socket, &SocketAddrV4::new([127, 0, 0, 1].into(), port)).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Has the front started anew by a supervisor that hands down the usual limit on open files.
fn with_usual_limit(service: &mut Service) {
    let supervisor = service.pids().get(Process::Supervisor).unwrap();
    let supervisor = Pid::from_raw(i32::try_from(supervisor).unwrap()).unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let usual = Rlimit { current: Some(FILES_USUAL), maximum };
    prlimit(Some(supervisor), Resource::Nofile, usual).unwrap();
    service.kill(Process::Front);
    service.wait_until_up();
    let own = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, own).unwrap();
}

#[test]
fn two_thousand_idle_connections_leave_room_for_a_good_client() {
    let mut service = Service::start();
    with_usual_limit(&mut service);
    let client = service.client();
    let (_, handle) = key_and_handle(&client, "invoices", "sign.bound:invoice", "ed25519");
    let wire = Wire::to(&service);
    let began = Instant::now();
    let mut idle = Vec::new();
    for source in SOURCES {
        for _ in 0..OF_EACH {
            let mut stream = wire.over(tcp_from(source, service.port()));
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).unwrap();
            }
            idle.push(stream);
        }
    }
    assert!(began.elapsed() < GATHERED, "the crowd took {:?}", began.elapsed());
    // A handshake is done for us a moment before the front counts it.
    let open = || counter(&wire, "chancery_front_connections");
    eventually("the crowd is in", || open() >= 2_000);
    let mut longest = Duration::ZERO;
    for _ in 0..200 {
        let one = Instant::now();
        committed(sign(&client, &handle, b"meanwhile", fresh()));
        longest = longest.max(one.elapsed());
    }
    assert!(longest < Duration::from_secs(1), "a good client waited {longest:?}");
    drop(idle);
    eventually("the crowd is gone", || open() < 100);
}

#[test]
fn a_source_has_as_many_connections_as_it_may_and_not_one_more() {
    const OF_A_SOURCE: u64 = 512;
    let service = Service::start();
    let wire = Wire::to(&service);
    let turned_away = "chancery_front_connections_refused_total{limit=\"source\"}";
    let mut held = Vec::new();
    for _ in 0..OF_A_SOURCE {
        held.push(tcp_from(9, service.port()));
    }
    // Those without a handshake count too, and are turned out after 5 s: this takes less.
    let open = || counter(&wire, "chancery_front_connections");
    eventually("all are in", || open() >= OF_A_SOURCE);
    let before = counter(&wire, turned_away);
    let one_more = tcp_from(9, service.port());
    eventually("one more is turned away", || counter(&wire, turned_away) == before + 1);
    drop((held, one_more));
}
