//! The links alone, with sockets of our own at their ends: who reaches whom, what each fault does to packets, and that
//! healing undoes exactly that.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use twinset_jepsen::nemesis::{Fault, Link};
use twinset_jepsen::net::fabric::Fabric;
use twinset_jepsen::net::plan::Plan;
use twinset_jepsen::net::rules::RESET;
use twinset_tools::cluster::Layout;

/// Below this nothing is silent on one machine; a silent link costs a test so much each time.
const SILENCE: Duration = Duration::from_millis(700);
/// What must come comes long before.
const PATIENCE: Duration = Duration::from_secs(20);

fn layout() -> Layout {
    Layout::new("d".as_ref(), "b".as_ref(), 2, 7100)
}

fn open() -> Fabric {
    Fabric::open(Plan::new(&layout())).unwrap()
}

fn api(name: &str) -> SocketAddr {
    layout().process(name).unwrap().api.parse().unwrap()
}

/// Lets `name` listen where its process would.
fn listen(fabric: &Fabric, name: &str) -> TcpListener {
    fabric.end(name).unwrap().run(|| TcpListener::bind(api(name))).unwrap().unwrap()
}

fn dial(fabric: &Fabric, from: &str, to: &str, patience: Duration) -> std::io::Result<TcpStream> {
    fabric.end(from).unwrap().run(|| TcpStream::connect_timeout(&api(to), patience)).unwrap()
}

/// Both ends of a connection.
fn connect(fabric: &Fabric, from: &str, to: &str, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = dial(fabric, from, to, PATIENCE).unwrap();
    let (far, _) = listener.accept().unwrap();
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
    }
    (near, far)
}

/// Sends a few bytes; the other end must have them in time.
fn pass(from: &mut TcpStream, to: &mut TcpStream, patience: Duration) -> std::io::Result<()> {
    from.write_all(b"hello")?;
    to.set_read_timeout(Some(patience))?;
    to.read_exact(&mut [0; 5])
}

fn link(from: &str, to: &str) -> Link {
    Link { from: from.to_owned(), to: to.to_owned() }
}

fn cut(shape: &str, links: &[(&str, &str)]) -> Fault {
    let cut = links.iter().map(|(from, to)| link(from, to)).collect();
    Fault::Partition { shape: shape.to_owned(), cut, for_ms: 0 }
}

#[tokio::test]
async fn every_end_reaches_every_process_and_a_dead_one_refuses() {
    let _turn = super::TURN.lock().await;
    let fabric = open();
    let plan = Plan::new(&layout());
    for to in ["a1", "b2", "c1", "rb"] {
        let listener = listen(&fabric, to);
        for from in plan.ends.iter().filter(|from| from.name != to) {
            let (mut near, mut far) = connect(&fabric, &from.name, to, &listener);
            assert_eq!(far.peer_addr().unwrap().ip(), from.ip);
            pass(&mut near, &mut far, PATIENCE).unwrap();
            pass(&mut far, &mut near, PATIENCE).unwrap();
        }
        // Its own end is reached from within, as the harness does.
        connect(&fabric, to, to, &listener);
    }
    let refused = dial(&fabric, "a1", "b1", PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_silent_cut_stops_one_direction_and_what_it_held_up_arrives_after_it() {
    let _turn = super::TURN.lock().await;
    let fabric = open();
    let listener = listen(&fabric, "b1");
    let (mut near, mut far) = connect(&fabric, "a1", "b1", &listener);
    let fault = cut("one_way", &[("a1", "b1")]);
    fabric.inject(&fault).unwrap();
    assert!(fabric.inject(&fault).is_err(), "a fault that acts was done again");
    pass(&mut far, &mut near, PATIENCE).unwrap();
    assert_eq!(pass(&mut near, &mut far, SILENCE).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(dial(&fabric, "a1", "b1", SILENCE).unwrap_err().kind(), ErrorKind::TimedOut);
    let other = listen(&fabric, "a2");
    connect(&fabric, "a1", "a2", &other);
    let evidence = fabric.heal(&fault).unwrap();
    assert!(evidence.acted && evidence.detail.contains("1 of 1 links"), "{evidence:?}");
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.read_exact(&mut [0; 5]).unwrap();
    connect(&fabric, "a1", "b1", &listener);
    assert!(!fabric.heal(&fault).unwrap().acted, "what was healed is healed again");
    fabric.inject(&fault).unwrap();
    assert!(!fabric.heal(&fault).unwrap().acted, "a fault that met no packet claims that it acted");
}

#[tokio::test]
async fn a_cut_with_resets_breaks_connections_at_once_and_two_cuts_heal_in_any_order() {
    let _turn = super::TURN.lock().await;
    let fabric = open();
    let listener = listen(&fabric, "b1");
    let (mut near, mut far) = connect(&fabric, "a1", "b1", &listener);
    let loud = cut(&format!("node{RESET}"), &[("a1", "b1"), ("b1", "a1")]);
    let silent = cut("one_way", &[("c1", "b1")]);
    fabric.inject(&silent).unwrap();
    fabric.inject(&loud).unwrap();
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    near.write_all(b"hello").unwrap();
    assert_eq!(near.read(&mut [0; 5]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.write_all(b"hello").unwrap();
    assert_eq!(far.read(&mut [0; 5]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(dial(&fabric, "a1", "b1", PATIENCE).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(dial(&fabric, "c1", "b1", SILENCE).unwrap_err().kind(), ErrorKind::TimedOut);
    let evidence = fabric.heal(&silent).unwrap();
    assert!(evidence.acted, "{evidence:?}");
    connect(&fabric, "c1", "b1", &listener);
    assert_eq!(dial(&fabric, "a1", "b1", PATIENCE).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let evidence = fabric.heal(&loud).unwrap();
    assert!(evidence.acted && evidence.detail.contains("2 of 2 links"), "{evidence:?}");
    connect(&fabric, "a1", "b1", &listener);
}

/// Two sockets for datagrams, which nothing sends again and nothing puts in order.
fn datagrams(fabric: &Fabric, from: &str, to: &str) -> (UdpSocket, UdpSocket) {
    let plan = Plan::new(&layout());
    let at = SocketAddr::from((plan.end(to).unwrap().ip, 9));
    let far = fabric.end(to).unwrap().run(|| UdpSocket::bind(at)).unwrap().unwrap();
    let near = fabric.end(from).unwrap().run(|| UdpSocket::bind(("0.0.0.0", 0))).unwrap().unwrap();
    near.connect(at).unwrap();
    (near, far)
}

/// Sends `count` numbered datagrams, and gives the numbers that arrive until nothing has come for a while.
fn volley(near: &UdpSocket, far: &UdpSocket, count: u8) -> Vec<u8> {
    for number in 0..count {
        near.send(&[number]).unwrap();
    }
    far.set_read_timeout(Some(SILENCE)).unwrap();
    let mut number = [0];
    std::iter::from_fn(|| far.recv(&mut number).ok().map(|_| number[0])).collect()
}

/// The numbers of so many datagrams, all of which must come.
fn arrived(far: &UdpSocket, count: u8) -> Vec<u8> {
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut number = [0];
    (0..count).map(|_| far.recv(&mut number).map(|_| number[0]).unwrap()).collect()
}

#[tokio::test]
async fn the_losses_of_a_link_are_counted_to_the_packet() {
    let _turn = super::TURN.lock().await;
    let fabric = open();
    let (near, far) = datagrams(&fabric, "b1", "a1");
    assert_eq!(volley(&near, &far, 200).len(), 200);
    let fault = Fault::Loss { links: vec![link("b1", "a1")], percent: 30, for_ms: 0 };
    fabric.inject(&fault).unwrap();
    let arrived = volley(&near, &far, 200).len();
    assert!((1..200).contains(&arrived), "{arrived} of 200 arrived");
    let evidence = fabric.heal(&fault).unwrap();
    assert!(evidence.detail.contains(&format!("lost {} packets ", 200 - arrived)), "{arrived}: {evidence:?}");
    assert_eq!(volley(&near, &far, 200).len(), 200);
}

#[tokio::test]
async fn a_delayed_link_delays_one_direction_keeps_order_and_gives_everything_back_when_healed() {
    let _turn = super::TURN.lock().await;
    let fabric = open();
    let listener = listen(&fabric, "b1");
    let (mut near, mut far) = connect(&fabric, "a1", "b1", &listener);
    let delay =
        |delay_ms, jitter_ms| Fault::Delay { links: vec![link("a1", "b1")], delay_ms, jitter_ms, for_ms: 0 };
    let fault = delay(120, 80);
    fabric.inject(&fault).unwrap();
    let began = Instant::now();
    pass(&mut near, &mut far, PATIENCE).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(120), "it arrived after {:?}", began.elapsed());
    let (from, to) = datagrams(&fabric, "a1", "b1");
    for number in 0..100 {
        from.send(&[number]).unwrap();
    }
    assert_eq!(arrived(&to, 100), (0..100).collect::<Vec<u8>>());
    let evidence = fabric.heal(&fault).unwrap();
    assert!(evidence.acted && evidence.detail.contains("on 1 of 1 links"), "{evidence:?}");
    // Longer than anybody waits: only healing brings it.
    let fault = delay(3_600_000, 0);
    fabric.inject(&fault).unwrap();
    assert_eq!(volley(&from, &to, 10), [0_u8; 0]);
    assert!(fabric.heal(&fault).unwrap().acted);
    assert_eq!(arrived(&to, 10), (0..10).collect::<Vec<u8>>());
    pass(&mut near, &mut far, PATIENCE).unwrap();
}

#[tokio::test]
async fn networks_that_are_dropped_leave_nothing_open() {
    let _turn = super::TURN.lock().await;
    let open_now = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let networks = links.filter(|link| link.to_string_lossy().starts_with("net:[")).count();
        let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
        (networks, names.filter(|name| name.trim() == "delayer").count())
    };
    assert_eq!(open_now(), (0, 0));
    let fabric = open();
    let deadline = Instant::now() + PATIENCE;
    // A thread takes its name when it first runs.
    while open_now() != (12, 1) {
        assert!(Instant::now() < deadline, "{:?}", open_now());
        std::thread::yield_now();
    }
    fabric.inject(&cut("node", &[("a1", "b1")])).unwrap();
    drop(fabric);
    assert_eq!(open_now(), (0, 0));
}
