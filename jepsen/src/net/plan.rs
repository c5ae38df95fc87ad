//! Which networks a cluster gets: every process, and the clients of each site, in one of its own; a switch per site; a
//! link between every two switches. Pure: names, addresses, and the texts that `ip` and `iptables-restore` read.
//!
//! All processes share one catalogue of addresses on 127.0.0.1. What one of them dials there is translated to the private
//! address of the network that owns the port, crosses the switches, and is translated back: each still listens on
//! 127.0.0.1 alone, and a connection is one connection from end to end, refused or silent as the network is.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;

use twinset_tools::cluster::Layout;

/// One end of links: a process, or the clients of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The process's name, or `client-SITE`.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Its address in our networks.
    pub ip: Ipv4Addr,
    /// The ports of 127.0.0.1 that it listens on.
    pub ports: Vec<u16>,
}

/// All ends and sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Every end.
    pub ends: Vec<End>,
    /// Every site, one switch each.
    pub sites: Vec<String>,
}

/// The end where the clients of a site are.
pub fn clients_of(site: &str) -> String {
    format!("client-{site}")
}

impl Plan {
    /// The networks of a cluster of that layout.
    pub fn new(layout: &Layout) -> Self {
        let sites: BTreeSet<&String> = layout.processes.iter().map(|process| &process.site).collect();
        let sites: Vec<String> = sites.into_iter().cloned().collect();
        let mut named: Vec<(String, String)> =
            layout.processes.iter().map(|process| (process.name.clone(), process.site.clone())).collect();
        let served: BTreeSet<&String> = layout.routers().map(|router| &router.site).collect();
        named.extend(served.into_iter().map(|site| (clients_of(site), site.clone())));
        let listens = layout.listens();
        let ends = named.into_iter().enumerate().map(|(number, (name, site))| {
            let ip = Ipv4Addr::new(10, 99, place(&sites, &site), 10 + number as u8);
            let of_it = listens.iter().filter(|(owner, _)| *owner == name);
            let ports = of_it.filter_map(|(_, addr)| port(addr)).collect();
            End { name, site, ip, ports }
        });
        Plan { ends: ends.collect(), sites }
    }

    /// The end of that name.
    pub fn end(&self, name: &str) -> anyhow::Result<&End> {
        let found = self.ends.iter().find(|end| end.name == name);
        found.ok_or_else(|| anyhow::anyhow!("no process or client is called {name}"))
    }

    fn gateway(&self, site: &str) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, place(&self.sites, site))
    }

    /// What `ip -batch` does in a site's switch. `path_of_end` says where an end's network is, `path_of_site` where a later
    /// site's switch is: each link between switches is made once, by the earlier one.
    pub fn switch(
        &self,
        site: &str,
        path_of_end: impl Fn(&str) -> String,
        path_of_site: impl Fn(&str) -> String,
    ) -> String {
        let mut text = "link set dev lo up\n".to_owned();
        for end in self.ends.iter().filter(|end| end.site == site) {
            let name = &end.name;
            line(&mut text, &format!("link add {name} type veth peer name eth0 netns {}", path_of_end(name)));
            self.up(&mut text, site, name);
            line(&mut text, &format!("route add {}/32 dev {name}", end.ip));
        }
        for later in self.sites.iter().skip_while(|other| *other != site).skip(1) {
            let path = path_of_site(later);
            line(&mut text, &format!("link add to-{later} type veth peer name to-{site} netns {path}"));
        }
        text
    }

    /// What `ip -batch` does in a site's switch when all links are there.
    pub fn switch_links(&self, site: &str) -> String {
        let mut text = String::new();
        for other in self.sites.iter().filter(|other| *other != site) {
            let (device, gateway) = (format!("to-{other}"), self.gateway(other));
            self.up(&mut text, site, &device);
            line(&mut text, &format!("route add {gateway}/32 dev {device}"));
            let behind = Ipv4Addr::new(10, 99, place(&self.sites, other), 0);
            line(&mut text, &format!("route add {behind}/24 via {gateway}"));
        }
        text
    }

    fn up(&self, text: &mut String, site: &str, device: &str) {
        line(text, &format!("addr add {}/32 dev {device}", self.gateway(site)));
        line(text, &format!("link set dev {device} up"));
    }

    /// What `ip -batch` does in an end's network, once the switch has made its cable.
    pub fn cable(&self, end: &End) -> String {
        let (ip, gateway) = (end.ip, self.gateway(&end.site));
        format!(
            "link set dev lo up\naddr add {ip}/32 dev eth0\nlink set dev eth0 up\n\
             route add {gateway}/32 dev eth0\nroute add default via {gateway}\n"
        )
    }

    /// What `iptables-restore` reads in an end's network: the translation of addresses, both ways.
    pub fn translation(&self, end: &End) -> String {
        let mut text = "*nat\n".to_owned();
        for other in self.ends.iter().filter(|other| other.name != end.name) {
            for port in &other.ports {
                let to = other.ip;
                let rule = format!(
                    "-A OUTPUT -d 127.0.0.1/32 -p tcp --dport {port} -j DNAT --to-destination {to}:{port}"
                );
                line(&mut text, &rule);
            }
        }
        line(&mut text, &format!("-A POSTROUTING -s 127.0.0.1/32 -o eth0 -j SNAT --to-source {}", end.ip));
        line(
            &mut text,
            &format!("-A PREROUTING -i eth0 -d {}/32 -p tcp -j DNAT --to-destination 127.0.0.1", end.ip),
        );
        text.push_str("COMMIT\n");
        text
    }
}

fn line(text: &mut String, words: &str) {
    writeln!(text, "{words}").expect("a string takes every line");
}

/// The number of a site, from 1.
fn place(sites: &[String], site: &str) -> u8 {
    let at = sites.iter().position(|other| other == site).expect("sites are those of the ends");
    u8::try_from(at + 1).expect("a layout has a handful of sites")
}

/// The port of `ADDRESS:PORT`.
fn port(addr: &str) -> Option<u16> {
    addr.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new(&Layout::new("d".as_ref(), "b".as_ref(), 2, 7100))
    }

    #[test]
    fn every_process_and_the_clients_of_each_site_have_an_address_of_their_own() {
        let plan = plan();
        let names: Vec<&str> = plan.ends.iter().map(|end| end.name.as_str()).collect();
        assert_eq!(names, ["a1", "a2", "b1", "b2", "c1", "ra", "rb", "client-A", "client-B"]);
        assert_eq!(plan.sites, ["A", "B", "C"]);
        let ips: BTreeSet<Ipv4Addr> = plan.ends.iter().map(|end| end.ip).collect();
        assert_eq!(ips.len(), plan.ends.len());
        assert_eq!(plan.end("b1").unwrap().ports, [7103, 7203, 7303]);
        assert_eq!(plan.end("client-B").unwrap().ports, [0_u16; 0]);
        assert!(plan.end("b3").is_err());
    }

    #[test]
    fn every_port_of_another_is_translated_and_none_of_its_own() {
        let plan = plan();
        let text = plan.translation(plan.end("b1").unwrap());
        let ports: usize = plan.ends.iter().map(|end| end.ports.len()).sum();
        assert_eq!(text.matches("-A OUTPUT").count(), ports - 3);
        assert!(text.contains("--dport 7101 -j DNAT --to-destination 10.99.1.10:7101\n"), "{text}");
        assert!(!text.contains("7103"), "{text}");
    }

    #[test]
    fn each_link_between_switches_is_made_once_and_used_from_both() {
        let plan = plan();
        let made: String =
            plan.sites.iter().map(|site| plan.switch(site, str::to_owned, str::to_owned)).collect();
        assert_eq!(made.matches("type veth peer name to-").count(), 3);
        assert_eq!(made.matches("peer name eth0").count(), plan.ends.len());
        let used: String = plan.sites.iter().map(|site| plan.switch_links(site)).collect();
        assert_eq!(used.matches("/24 via").count(), 6);
    }
}
