//! What scripts print of a catalogue.

use std::error::Error;
use std::fmt::Write as _;

use twinset_control::plan::Step;
use twinset_control::{Catalogue, Replacement, Replica, Role};

fn replicas(replicas: &[Replica]) -> String {
    let one = |r: &Replica| format!("{}{}#{}", r.node, if r.role == Role::Voter { "" } else { "~" }, r.id);
    replicas.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn replacement(open: &Replacement) -> String {
    let given_up = if open.given_up { ", given up" } else { "" };
    format!("replacement {}: #{} by #{}{given_up}", open.id, open.old, open.new)
}

pub fn show_set(catalogue: &Catalogue, set: u32) -> Result<String, Box<dyn Error>> {
    let set = catalogue.sets.get(&set).ok_or("no such set")?;
    let mut out = String::new();
    let slots: Vec<String> = set.slots.iter().map(|r| format!("{}-{}", r.from, r.to)).collect();
    writeln!(out, "set {}: slots {}, version {}", set.id, slots.join(","), catalogue.version)?;
    writeln!(
        out,
        "  home {} (configured {}), epoch {}, incarnation {}",
        set.home, set.configured_home, set.epoch, set.incarnation
    )?;
    let pinned = if set.pinned { ", pinned" } else { "" };
    let policy = if set.policy.is_default() { String::new() } else { format!(", {}", set.policy) };
    writeln!(out, "  {}{pinned}, last safe index {}{policy}", set.durability, set.last_safe_index)?;
    if set.synced_unix_ns > 0 {
        writeln!(out, "  SYNC again at {}", set.synced_unix_ns)?;
    }
    if set.is_unproven() {
        writeln!(out, "  unproven since {}", set.unproven_since_unix_ns)?;
    }
    writeln!(out, "  replicas {}", replicas(&set.replicas))?;
    if let Some(s) = &set.switch {
        writeln!(out, "  switch {}: {} to {}, owner {}, keep #{}", s.id, s.from, s.to, s.owner, s.keep)?;
    }
    if let Some(open) = &set.replacement {
        writeln!(out, "  {}", replacement(open))?;
    }
    if let Some(open) = &set.recovery {
        writeln!(
            out,
            "  recovery {} in {} as {}, survivors {:?}",
            open.id, open.site, open.incarnation, open.survivors
        )?;
    }
    if !set.lives.is_empty() {
        let mut runs: Vec<(u64, u32)> = Vec::new();
        for end in &set.lives {
            match runs.last_mut().filter(|run| run.0 == *end) {
                Some(run) => run.1 += 1,
                None => runs.push((*end, 1)),
            }
        }
        let run = |(end, times)| if times == 1 { format!("{end}") } else { format!("{end} ({times} times)") };
        let runs: Vec<String> = runs.into_iter().map(run).collect();
        writeln!(out, "  earlier lives ended at [{}]", runs.join(", "))?;
    }
    if let Some(done) = &set.recovered {
        let kept = |kept: bool| if kept { " kept" } else { "" };
        let lost = done.lost.iter().map(|lost| format!("{}#{}{}", lost.node, lost.id, kept(lost.kept)));
        let lost: Vec<String> = lost.collect();
        writeln!(
            out,
            "  recovered by {} from #{} at {}/{} in term {}, was {}, lost {}",
            done.id,
            done.from,
            done.end.term,
            done.end.index,
            done.term,
            done.was,
            lost.join(" ")
        )?;
        if done.unreconciled {
            writeln!(out, "  asks its peers")?;
        }
    }
    if let Some(ended) = set.last_switch {
        writeln!(out, "  last switch {}: {:?}", ended.id, ended.end)?;
    }
    Ok(out)
}

pub fn show_cluster(catalogue: &Catalogue) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    writeln!(out, "{} ({}), version {}", catalogue.cluster_name, catalogue.cluster_id, catalogue.version)?;
    for node in catalogue.nodes.values() {
        let arbiter = if node.arbiter { " arbiter" } else { "" };
        writeln!(
            out,
            "  {} in {}{arbiter}: {} {} {}",
            node.name, node.site, node.api_addr, node.peer_addr, node.http_addr
        )?;
    }
    writeln!(out, "  control {}", replicas(&catalogue.control.replicas))?;
    if let Some(open) = &catalogue.control.replacement {
        writeln!(out, "  {}", replacement(open))?;
    }
    if let Some(done) = &catalogue.control.recovered {
        let kept = |kept: bool| if kept { " kept" } else { "" };
        let lost = done.lost.iter().map(|lost| format!("{}#{}{}", lost.node, lost.id, kept(lost.kept)));
        writeln!(
            out,
            "  incarnation {}, recovered by {} from #{} at {}/{} in term {}, lost {}",
            catalogue.control.incarnation,
            done.plan,
            done.from,
            done.end.term,
            done.end.index,
            done.term,
            lost.collect::<Vec<_>>().join(" ")
        )?;
    }
    writeln!(out, "  next replica id {}", catalogue.next_replica_id)?;
    Ok(out)
}

pub fn show_groups(catalogue: &Catalogue) -> Result<String, Box<dyn Error>> {
    let parts: usize = catalogue.groups.values().map(|group| group.parts.len()).sum();
    let mut out =
        format!("{} groups with {parts} parts, version {}\n", catalogue.groups.len(), catalogue.version);
    for group in catalogue.groups.values().take(4) {
        let shown = group.parts.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
        let (id, currency, side) = (&group.id, &group.currency, group.normal_side);
        writeln!(out, "  {id} in {currency}, {side:?}: {} parts {shown}", group.parts.len())?;
    }
    Ok(out)
}

pub fn show_drills(catalogue: &Catalogue) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    for drill in catalogue.drills.values() {
        let second = |ns: u64| ns / 1_000_000_000;
        let ended = drill.ended_unix_ns.map_or("-".to_owned(), |ns| second(ns).to_string());
        writeln!(
            out,
            "drill {}: {} on set {}, {:?}, began {}, until {}, ended {ended}",
            drill.id,
            drill.scenario,
            drill.set,
            drill.state,
            second(drill.began_unix_ns),
            second(drill.until_unix_ns)
        )?;
    }
    writeln!(out, "version {}", catalogue.version)?;
    Ok(out)
}

pub fn show_plans(catalogue: &Catalogue) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    for plan in catalogue.plans.values() {
        write!(
            out,
            "plan {}: {}, {}, stage {} of {:?}",
            plan.id, plan.kind, plan.state, plan.stage, plan.pace.stages
        )?;
        for (what, text) in [("because", &plan.reason), ("brings home because", &plan.roll_back)] {
            text.iter().try_for_each(|text| write!(out, ", {what} {text}"))?;
        }
        let at_s = |ns: Option<u64>| ns.map_or("-".into(), |ns| (ns / 1_000_000_000).to_string());
        let (stage, end) = (at_s(plan.stage_ended_unix_ns), at_s(plan.ended_unix_ns));
        writeln!(out, ", stage ended {stage}, ended {end}, {} done", plan.done())?;
        for step in &plan.steps {
            let Step { set, stage, from, to, epoch, state, .. } = step;
            let pause = step.pause_us.map_or(String::new(), |us| format!(", paused {us} us"));
            let end = at_s(step.ended_unix_ns);
            writeln!(
                out,
                "  {stage}: set {set} {from} to {to}, epoch {epoch}, {state:?}, ended {end}{pause}"
            )?;
        }
    }
    let isolated: Vec<&str> =
        catalogue.sites.values().filter(|site| site.isolated).map(|site| site.name.as_str()).collect();
    writeln!(out, "isolated: {isolated:?}, version {}", catalogue.version)?;
    Ok(out)
}

pub fn show_audit(catalogue: &Catalogue) -> Result<String, Box<dyn Error>> {
    let mut out = format!("{} records, head {}\n", catalogue.audit.total, catalogue.audit.head("cluster-1"));
    for r in &catalogue.audit.tail {
        let time_s = r.time_unix_ns / 1_000_000_000;
        writeln!(
            out,
            "  {} at {} ({time_s} s) {} ({}), {}: {:?} -> {:?}",
            r.no, r.index, r.who, r.proof, r.why, r.what, r.outcome
        )?;
    }
    Ok(out)
}
