//! What a recovery of the control set would do, as the nodes that answer say it of their own copies: without a majority there is
//! nobody else to ask. Pure: asks nobody. `cmd/recover_control.rs` stands above.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use twinset_control::{CONTROL_SET, Catalogue, LogEnd};
use twinset_proto::cluster::v1::{ControlPromise, InspectControlReply};

use crate::recover::name_of;

/// What would be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Names exactly this plan: another one is made when anything in it has changed.
    pub id: String,
    /// The incarnation that the control set will have.
    pub incarnation: u32,
    /// Who has begun it already, if somebody has: it is gone on with.
    pub begun_by: Option<String>,
    /// The copies that are fenced and go on.
    pub survivors: Vec<Survivor>,
    /// The one of them whose log goes on: it has the greatest.
    pub from: u64,
    /// The copies that are left behind.
    pub missing: Vec<Missing>,
    /// The catalogue's version in the log that goes on, as far as it is applied.
    pub version: u64,
    /// The newest version that any node which answers has heard of: what lies between is lost.
    pub newest_heard: u64,
    /// When the last record was made that goes on; 0: there is none.
    pub recorded_unix_ns: u64,
}

/// A copy that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survivor {
    /// Its id.
    pub replica: u64,
    /// Where it stands.
    pub node: String,
    /// Where its log ends.
    pub end: LogEnd,
    /// The catalogue's version that it has applied.
    pub version: u64,
}

/// A copy that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its id.
    pub replica: u64,
    /// Where it stands; empty: nobody here knows it.
    pub node: String,
    /// The node's site.
    pub site: String,
}

impl Plan {
    /// The survivors as nodes are told of them.
    pub fn members(&self) -> BTreeMap<u64, String> {
        self.survivors.iter().map(|survivor| (survivor.replica, survivor.node.clone())).collect()
    }

    /// The copies that are left behind and that nobody has said to be off, neither by their site nor by their node.
    pub fn not_off<'a>(&'a self, said: &'a [String]) -> impl Iterator<Item = &'a Missing> {
        self.missing.iter().filter(|missing| !said.contains(&missing.site) && !said.contains(&missing.node))
    }

    /// What goes on, what is left behind, and what that may cost.
    pub fn text(&self) -> String {
        let mut text =
            format!("plan {}: the control set goes on in incarnation {}\n", self.id, self.incarnation);
        if let Some(who) = &self.begun_by {
            text.push_str(&format!("{who} has begun it: `apply` goes on with it\n"));
        }
        for Survivor { replica, node, end, version } in &self.survivors {
            let from = if *replica == self.from { ", whose log goes on" } else { "" };
            let LogEnd { term, index } = end;
            text.push_str(&format!(
                "  {node}#{replica}: log up to term {term}, index {index}; catalogue {version}{from}\n"
            ));
        }
        for Missing { replica, node, site } in &self.missing {
            text.push_str(&format!("  {node}#{replica} (site {site}) does not answer and is left behind\n"));
        }
        let since = match self.recorded_unix_ns {
            0 => String::new(),
            at => format!(", of {}", twinset_ledger::date::timestamp(at / 1_000_000_000 * 1_000_000_000)),
        };
        text.push_str(&format!(
            "lost: whatever those who are left behind recorded together after the last record here{since}; what that was cannot be known\n"
        ));
        if self.newest_heard > self.version {
            text.push_str(&format!(
                "lost for certain: {} changes that nodes here have heard of, up to catalogue {}\n",
                self.newest_heard - self.version,
                self.newest_heard
            ));
        }
        text.push_str(
            "afterwards no set is degraded or moved before both sites have shown that they have all of it, or you have recovered it: \
             `twinset recover plan`",
        );
        text
    }
}

/// Plans the recovery, or says why there is nothing to recover or nobody to go on from.
pub fn plan(catalogue: &Catalogue, copies: &[InspectControlReply]) -> Result<Plan, String> {
    let known = catalogue.control.incarnation;
    // Those that an earlier recovery has left behind have no say.
    let of_cluster = |copy: &&InspectControlReply| {
        copy.cluster_id == catalogue.cluster_id && copy.replica != 0 && copy.incarnation >= known
    };
    let copies: Vec<&InspectControlReply> = copies.iter().filter(of_cluster).collect();
    if let Some(copy) = copies.iter().find(|copy| !copy.leader_node.is_empty()) {
        return Err(format!("{} hears that {} leads the control set", copy.node, copy.leader_node));
    }
    let promises = copies.iter().filter_map(|copy| copy.promise.as_ref());
    let promises = promises.filter(|promise| !promise.plan.is_empty() && promise.incarnation > known);
    let newest =
        copies.iter().map(|copy| copy.incarnation).chain(promises.clone().map(|it| it.incarnation)).max();
    let Some(newest) = newest else {
        return Err("no node that answers has a copy of the control set".to_owned());
    };
    let begun: Vec<&ControlPromise> = promises.filter(|promise| promise.incarnation == newest).collect();
    let answers = |promise: &ControlPromise| {
        promise.survivors.keys().all(|id| copies.iter().any(|copy| copy.replica == *id))
    };
    let one = begun.windows(2).all(|pair| pair[0].plan == pair[1].plan);
    let begun = begun.first().filter(|promise| one && answers(promise));
    let survives =
        |copy: &&&InspectControlReply| begun.is_none_or(|it| it.survivors.contains_key(&copy.replica));
    let survivors: Vec<&InspectControlReply> = copies.iter().filter(survives).copied().collect();
    let greatest =
        survivors.iter().max_by_key(|copy| (end_of(copy), copy.replica)).ok_or("nobody survives")?;
    let members: BTreeSet<u64> = match greatest.voters.is_empty() {
        true => catalogue.control.replicas.iter().map(|replica| replica.id).collect(),
        false => greatest.voters.iter().copied().collect(),
    };
    let there = |id: &&u64| survivors.iter().any(|copy| copy.replica == **id);
    // Those that somebody has fenced elect nobody.
    let fenced = |copy: &InspectControlReply| copy.promise.as_ref().is_some_and(|it| it.incarnation > known);
    let free = |id: &&u64| survivors.iter().any(|copy| copy.replica == **id && !fenced(copy));
    if members.iter().filter(free).count() > members.len() / 2 {
        return Err("it has its majority: it elects a leader by itself".to_owned());
    }
    let missing = members.iter().filter(|id| !there(id)).map(|id| {
        let node =
            catalogue.replica(CONTROL_SET, *id).map(|replica| replica.node.clone()).unwrap_or_default();
        let site = catalogue.site_of_node(&node).unwrap_or_default().to_owned();
        Missing { replica: *id, node, site }
    });
    let missing: Vec<Missing> = missing.collect();
    let incarnation = begun.map_or(newest + 1, |promise| promise.incarnation);
    let survivor = |copy: &&InspectControlReply| Survivor {
        replica: copy.replica,
        node: copy.node.clone(),
        end: end_of(copy),
        version: copy.version,
    };
    let survivors: Vec<Survivor> = survivors.iter().map(survivor).collect();
    let seen = || {
        let lost: Vec<u64> = missing.iter().map(|missing| missing.replica).collect();
        let each = survivors.iter().map(|it| format!("{} {} {:?}", it.replica, it.node, it.end));
        let all = format!("{} {incarnation} {lost:?}", catalogue.cluster_id);
        name_of(std::iter::once(all).chain(each))
    };
    Ok(Plan {
        id: begun.map_or_else(seen, |promise| promise.plan.clone()),
        incarnation,
        begun_by: begun.map(|promise| promise.who.clone()),
        from: greatest.replica,
        version: greatest.version,
        newest_heard: catalogue.version,
        recorded_unix_ns: greatest.recorded_unix_ns,
        survivors,
        missing,
    })
}

fn end_of(copy: &InspectControlReply) -> LogEnd {
    LogEnd { term: copy.last_term, index: copy.last_index }
}

#[cfg(test)]
mod tests {
    use twinset_control::Topology;

    use super::*;
    use crate::cluster::Layout;

    fn catalogue() -> Catalogue {
        let text = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100).topology();
        toml::from_str::<Topology>(&text).unwrap().place("id").unwrap()
    }

    /// What these nodes say of their copies; logs end at 3/7 but for b1's.
    fn copies(alive: &[&str], change: impl Fn(&mut InspectControlReply)) -> Vec<InspectControlReply> {
        let catalogue = catalogue();
        let replicas = catalogue.control.replicas.iter();
        let alive = replicas.clone().filter(|replica| alive.contains(&replica.node.as_str()));
        let copy = |replica: &twinset_control::Replica| {
            let mut copy = InspectControlReply {
                node: replica.node.clone(),
                cluster_id: "id".into(),
                replica: replica.id,
                incarnation: 1,
                last_term: 3,
                last_index: if replica.node == "b1" { 9 } else { 7 },
                version: 1,
                open: true,
                voters: replicas.clone().map(|replica| replica.id).collect(),
                ..InspectControlReply::default()
            };
            change(&mut copy);
            copy
        };
        alive.map(copy).collect()
    }

    fn planned(alive: &[&str], change: impl Fn(&mut InspectControlReply)) -> Result<Plan, String> {
        plan(&catalogue(), &copies(alive, change))
    }

    #[test]
    fn a_lone_survivor_goes_on_and_what_is_lost_with_the_others_is_said() {
        let plan = planned(&["b1"], |_| ()).unwrap();
        assert_eq!((plan.incarnation, plan.survivors.len(), plan.begun_by.as_deref()), (2, 1, None));
        let missing: Vec<&str> = plan.missing.iter().map(|missing| missing.node.as_str()).collect();
        assert_eq!(missing, ["a1", "c1"]);
        let said = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (names, left) in [(&["A"][..], 1), (&["A", "c1"], 0), (&["A", "C"], 0), (&["B"], 2)] {
            assert_eq!(plan.not_off(&said(names)).count(), left, "{names:?}");
        }
        assert!(plan.text().contains("cannot be known"), "{}", plan.text());
        let longer = planned(&["b1"], |copy| copy.last_index += 1).unwrap();
        assert_ne!(plan.id, longer.id, "what is confirmed is what was shown");
    }

    #[test]
    fn what_lives_is_not_recovered() {
        let led = planned(&["b1"], |copy| copy.leader_node = "a1".into()).unwrap_err();
        assert!(led.contains("a1 leads"), "{led}");
        let majority = planned(&["b1", "c1"], |_| ()).unwrap_err();
        assert!(majority.contains("by itself"), "{majority}");
        assert!(planned(&[], |_| ()).is_err());
        let left_behind = planned(&["a1"], |copy| copy.incarnation = 0).unwrap_err();
        assert!(left_behind.contains("no node"), "{left_behind}");
    }

    #[test]
    fn what_was_begun_is_gone_on_with_unless_two_have_begun() {
        let fenced = |copy: &mut InspectControlReply, plan: &str, survivors: &[(u64, &str)]| {
            copy.incarnation = 2;
            (copy.open, copy.voters) = (false, Vec::new());
            copy.promise = Some(ControlPromise {
                plan: plan.into(),
                incarnation: 2,
                survivors: survivors.iter().map(|(id, node)| (*id, (*node).to_owned())).collect(),
                who: "ann".into(),
                revived: false,
            });
        };
        let b1 = catalogue().control.replicas.iter().find(|it| it.node == "b1").unwrap().id;
        let begun = planned(&["b1"], |copy| fenced(copy, "p", &[(b1, "b1")])).unwrap();
        assert_eq!((&*begun.id, begun.incarnation, begun.begun_by.as_deref()), ("p", 2, Some("ann")));
        assert_eq!(begun.missing.len(), 2, "as in the catalogue: its own log is closed");
        // One for each of two operators, and one whose other survivor has died since.
        let two =
            planned(&["b1", "c1"], |copy| fenced(copy, &copy.node.clone(), &[(copy.replica, "x")])).unwrap();
        let dead = planned(&["b1"], |copy| fenced(copy, "p", &[(b1, "b1"), (99, "b2")])).unwrap();
        for anew in [two, dead] {
            assert_eq!((anew.incarnation, anew.begun_by), (3, None));
        }
    }
}
