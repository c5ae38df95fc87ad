//! The description of the HTTP API, made from the table of routes and the JSON types themselves, once.

use std::sync::LazyLock;

use http::Method;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApiBuilder, Ref, Required, Response};
use utoipa::{PartialSchema, ToSchema};

use crate::json::{buffered, dry_run, events, holds, reply, request, restrictions, statement, sweeps};
use crate::routes::{Route, TABLE};

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| build().to_json().expect("the description is plain JSON"));

/// The OpenAPI document, as JSON.
pub fn document() -> &'static str {
    &DOCUMENT
}

/// What a route does, the schema of its body and of its reply.
fn about(route: Route) -> (&'static str, Option<&'static str>, Option<&'static str>) {
    match route {
        Route::DefineCurrency => ("Define a currency", Some("DefineCurrency"), Some("Defined")),
        Route::DefineSubject => ("Define a general-ledger subject", Some("DefineSubject"), Some("Defined")),
        Route::OpenAccount => ("Open an account", Some("OpenAccount"), Some("AccountChanged")),
        Route::GetAccount => ("Read an account", None, Some("AccountFound")),
        Route::GetStatement => ("Read what was posted to an account, in pages", None, Some("Statement")),
        Route::GetBalance => {
            ("Read the posted balance of an account at a time or a position", None, Some("Balance"))
        }
        Route::SetLimit => ("Change the floor of an account", Some("SetLimit"), Some("AccountChanged")),
        Route::Freeze => ("Freeze an account", Some("Freeze"), Some("AccountChanged")),
        Route::Unfreeze => ("End a freeze", Some("Freeze"), Some("AccountChanged")),
        Route::CloseAccount => {
            ("Close an empty account for good", Some("CloseAccount"), Some("AccountChanged"))
        }
        Route::PostTransaction => ("Book a transaction", Some("PostTransaction"), Some("TransactionBooked")),
        Route::PostBatch => {
            ("Book many transactions, each by itself or all or none", Some("PostBatch"), Some("BatchDone"))
        }
        Route::GetTransaction => ("Read a transaction", None, Some("TransactionFound")),
        Route::Reverse => ("Take a transaction back", Some("Reverse"), Some("TransactionBooked")),
        Route::ListTransactions => ("Read the transactions of a set in order", None, Some("TransactionPage")),
        Route::GetRecovery => {
            ("Read the recovery account of a set in a currency", None, Some("AccountFound"))
        }
        Route::FindTransactions => (
            "Read the transactions that have a reference of your own, of a set or of all sets",
            None,
            Some("FoundTransactions"),
        ),
        Route::GetClearing => {
            ("Read the clearing account of a set in a currency", None, Some("AccountFound"))
        }
        Route::GetRequest => ("Read what became of a request id", None, Some("RequestFound")),
        Route::PlaceHold => ("Set an amount aside", Some("PlaceHold"), Some("HoldChanged")),
        Route::CaptureHold => {
            ("Book what a hold has set aside", Some("CaptureHold"), Some("TransactionBooked"))
        }
        Route::ReleaseHold => ("Give a hold back, or a part of it", Some("ReleaseHold"), Some("HoldChanged")),
        Route::ExtendHold => ("Move the end of a hold", Some("ExtendHold"), Some("HoldChanged")),
        Route::GetHold => ("Read a hold", None, Some("HoldFound")),
        Route::ListHolds => ("Read the holds of an account in order", None, Some("HoldPage")),
        Route::ListOverdueHolds => (
            "Read the overdue holds of all accounts of a set, or of all sets, the longest overdue first",
            None,
            Some("OverdueHolds"),
        ),
        Route::SetPostingMode => (
            "Say whether sets whose accounts pay an account ask it first",
            Some("SetPostingMode"),
            Some("AccountChanged"),
        ),
        Route::GetInTransit => ("Read what is on its way to a buffered account", None, Some("InTransit")),
        Route::ListSuspense => {
            ("Read the credits that could not be booked where they should be", None, Some("SuspensePage"))
        }
        Route::ResolveSuspense => {
            ("Book a suspended credit on", Some("ResolveSuspense"), Some("TransactionBooked"))
        }
        Route::ReleaseRestriction => (
            "Let restricted money be withdrawn, or a part of it",
            Some("ReleaseRestriction"),
            Some("RestrictionChanged"),
        ),
        Route::GetRestriction => {
            ("Read what a transaction restricts on an account", None, Some("RestrictionFound"))
        }
        Route::ListRestrictions => {
            ("Read the restrictions of an account in order", None, Some("RestrictionPage"))
        }
        Route::SetSweep => (
            "Sweep an account: what may be withdrawn beyond what is to stay goes to another one, again and again",
            Some("SetSweep"),
            Some("AccountChanged"),
        ),
        Route::RemoveSweep => ("Sweep an account no more", Some("RemoveSweep"), Some("AccountChanged")),
        Route::GetSweep => ("Read the sweep of an account", None, Some("SweepFound")),
        Route::ListSweeps => ("Read the sweeps of a set", None, Some("SweepPage")),
        Route::ListEvents => ("Read or follow the events of a set", None, Some("EventPage")),
        Route::ListAllEvents => ("Read or follow the events of all sets", None, Some("EventPage")),
        Route::OpenApi => ("This document", None, None),
        Route::Health => ("Whether the process is alive", None, None),
        Route::Ready => (
            "Whether the router should get traffic: it holds a catalogue and a node that hosts sets answers it",
            None,
            None,
        ),
        Route::Metrics => ("Figures for Prometheus", None, None),
    }
}

fn build() -> utoipa::openapi::OpenApi {
    let mut paths = PathsBuilder::new();
    for (route, method, path) in &TABLE {
        let method = match *method {
            Method::PUT => HttpMethod::Put,
            Method::POST => HttpMethod::Post,
            _ => HttpMethod::Get,
        };
        paths = paths.path(*path, PathItem::new(method, operation(*route, path)));
    }
    let info = InfoBuilder::new()
        .title("Twinset")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "An active-active, two-site, double-entry ledger. Money is a decimal in a JSON string. Bodies are \
             application/json, uncompressed. HEAD is answered wherever GET is. While there is no authentication, \
             the headers Host and Origin must name this host.",
        ))
        .build();
    OpenApiBuilder::new().info(info).paths(paths.build()).components(Some(components().build())).build()
}

fn operation(route: Route, path: &str) -> OperationBuilder {
    let (summary, body, reply) = about(route);
    let mut operation =
        OperationBuilder::new().summary(Some(summary)).operation_id(Some(format!("{route:?}")));
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        operation =
            operation.parameter(parameter(name, ParameterIn::Path, "In the path, percent-encoded or not."));
    }
    if path.starts_with("/v1/") {
        let about = "How long to wait, 1 to 60000 ms. Without it, the router's own default.";
        operation = operation.parameter(parameter("Twinset-Deadline-Ms", ParameterIn::Header, about));
        if body.is_none() {
            let about = "\"linearizable\" (default) or \"stale\".";
            operation = operation.parameter(parameter("consistency", ParameterIn::Query, about));
        }
        operation =
            operation.response("default", content("application/problem+json", "The honest error", "Problem"));
    }
    if route == Route::ListTransactions {
        operation = operation
            .parameter(parameter(
                "after",
                ParameterIn::Query,
                "A transaction id of the set; the page starts behind it.",
            ))
            .parameter(parameter("page_size", ParameterIn::Query, "1 to 1000; 100 without it."));
    }
    let of_account = match route {
        Route::ListHolds => Some((
            "Only holds that are \"open\", \"overdue\", \"captured\", \"released\" or \"expired\".",
            "A hold of the account; the page starts behind it.",
        )),
        Route::ListRestrictions => Some((
            "Only restrictions that are \"open\", \"released\", \"expired\" or \"reversed\".",
            "A restriction of the account; the page starts behind it.",
        )),
        _ => None,
    };
    if let Some((state, after)) = of_account {
        let query = |name, about| parameter(name, ParameterIn::Query, about);
        operation = operation
            .parameter(query("state", state))
            .parameter(query("after", after))
            .parameter(query("page_size", "1 to 100; 100 without it."));
    }
    if route == Route::ListSweeps {
        let query = |name, about| parameter(name, ParameterIn::Query, about);
        operation = operation
            .parameter(query(
                "after",
                "An account of the set; the page starts with those that were opened later.",
            ))
            .parameter(query("page_size", "1 to 100; 100 without it."));
    }
    if route == Route::ListSuspense {
        let query = |name, about| parameter(name, ParameterIn::Query, about);
        operation = operation
            .parameter(query("after", "A suspended credit of the set; the page starts behind it."))
            .parameter(query("page_size", "1 to 100; 100 without it."));
    }
    if matches!(route, Route::ListEvents | Route::ListAllEvents) {
        operation = described_events(operation);
    }
    let about: &[(&str, &str)] = match route {
        Route::PostTransaction | Route::PostBatch => &[(
            "dry_run",
            "\"true\": nothing is booked, and the answer is what the call would be told now. \"false\" without it.",
        )],
        Route::GetAccount => &[(
            "in_transit",
            "\"true\": also what is on its way to it from other sets, if it is buffered; no group. \"false\" without it.",
        )],
        Route::FindTransactions => &[
            (
                "reference",
                "What the metadata of a transaction have under \"reference\": 1 to 512 bytes. It must be there.",
            ),
            ("set", "The number of a set. Without it, all sets."),
            ("after", "`next` of a page; the next one."),
            ("page_size", "1 to 100; 100 without it."),
        ],
        Route::ListOverdueHolds => &[
            ("state", "\"overdue\", and nothing else: holds in other states are listed by account."),
            ("set", "The number of a set. Without it, all sets."),
            ("after", "`next` of a page; the next one."),
            ("page_size", "1 to 100; 100 without it."),
        ],
        Route::GetStatement => &statement::ABOUT_STATEMENT,
        Route::GetBalance => &statement::ABOUT_BALANCE,
        _ => &[],
    };
    for (name, about) in about {
        operation = operation.parameter(parameter(name, ParameterIn::Query, about));
    }
    if let Some(body) = body {
        let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name(body))).build();
        let body =
            RequestBodyBuilder::new().content("application/json", schema).required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let done = match reply {
        Some(reply @ "TransactionBooked") if route == Route::PostTransaction => {
            either(reply, "TransactionDryRun")
        }
        Some(reply @ "BatchDone") => either(reply, "BatchDryRun"),
        Some(reply) => content("application/json", "Done", reply),
        None => Response::new("Done"),
    };
    if route == Route::Ready {
        operation = operation.response("503", Response::new("Not ready, with the reason in plain text"));
    }
    operation.response("200", done)
}

/// What asks for events, and that they come as a stream as well.
fn described_events(operation: OperationBuilder) -> OperationBuilder {
    operation
        .description(Some(
            "With the header Accept: text/event-stream, server-sent events without end: `id` is what resumes the \
             stream, `data` an Event. That knows no page_size and is always linearizable.",
        ))
        .parameter(parameter(
            "after",
            ParameterIn::Query,
            "`resume` of an event or `next` of a page. Without it, from the first event on.",
        ))
        .parameter(parameter("page_size", ParameterIn::Query, "Of each set, 1 to 1000; 100 without it."))
        .parameter(parameter("Last-Event-ID", ParameterIn::Header, "Of a stream, in place of `after`."))
}

fn content(kind: &str, description: &str, schema: &str) -> Response {
    let schema = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content(kind, schema).build()
}

/// What was done, or what a dry run would be told.
fn either(done: &str, would: &str) -> Response {
    let schemas = OneOfBuilder::new().item(Ref::from_schema_name(done)).item(Ref::from_schema_name(would));
    let schema = ContentBuilder::new().schema(Some(schemas)).build();
    ResponseBuilder::new().description("Done, or tried").content("application/json", schema).build()
}

fn parameter(name: &str, place: ParameterIn, description: &str) -> ParameterBuilder {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    let text = ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).build();
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(text))
}

fn with<T: ToSchema + PartialSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    components.schemas_from_iter(schemas)
}

fn components() -> ComponentsBuilder {
    let requests = [
        with::<request::DefineCurrency>,
        with::<request::DefineSubject>,
        with::<request::OpenAccount>,
        with::<request::SetLimit>,
        with::<request::Freeze>,
        with::<request::CloseAccount>,
        with::<request::PostTransaction>,
        with::<request::PostBatch>,
        with::<request::Reverse>,
        with::<holds::PlaceHold>,
        with::<holds::CaptureHold>,
        with::<holds::ReleaseHold>,
        with::<holds::ExtendHold>,
        with::<buffered::SetPostingMode>,
        with::<buffered::ResolveSuspense>,
        with::<restrictions::ReleaseRestriction>,
        with::<sweeps::SetSweep>,
        with::<sweeps::RemoveSweep>,
    ];
    let replies = [
        with::<reply::Defined>,
        with::<reply::AccountChanged>,
        with::<reply::TransactionBooked>,
        with::<reply::BatchDone>,
        with::<dry_run::TransactionDryRun>,
        with::<dry_run::BatchDryRun>,
        with::<reply::AccountFound>,
        with::<reply::TransactionFound>,
        with::<reply::RequestFound>,
        with::<reply::TransactionPage>,
        with::<reply::FoundTransactions>,
        with::<holds::OverdueHolds>,
        with::<holds::HoldChanged>,
        with::<holds::HoldFound>,
        with::<holds::HoldPage>,
        with::<buffered::InTransit>,
        with::<buffered::SuspensePage>,
        with::<restrictions::RestrictionChanged>,
        with::<restrictions::RestrictionFound>,
        with::<restrictions::RestrictionPage>,
        with::<sweeps::SweepFound>,
        with::<sweeps::SweepPage>,
        with::<statement::Statement>,
        with::<statement::Balance>,
        with::<events::EventPage>,
        with::<reply::Problem>,
    ];
    let start = requests.iter().fold(ComponentsBuilder::new(), |components, add| add(components));
    replies.iter().fold(start, |components, add| add(components))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_route_stands_in_it_and_every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(document()).expect("JSON");
        for (route, method, path) in &TABLE {
            let operation = &document["paths"][path][method.as_str().to_lowercase()];
            assert_eq!(operation["operationId"], format!("{route:?}"), "{method} {path}");
        }
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let name = reference.strip_prefix("#/components/schemas/").expect("a reference to a schema");
                assert!(schemas.contains_key(name), "{name} is not described");
            }
            open.extend(value.as_object().into_iter().flat_map(|object| object.values()));
            open.extend(value.as_array().into_iter().flatten());
        }
    }

    #[test]
    fn amounts_are_strings() {
        let document: Value = serde_json::from_str(document()).expect("JSON");
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["PostLeg"]["properties"]["amount"]["type"], "string");
        assert_eq!(schemas["SetLimit"]["properties"]["limit"]["type"], "string");
    }
}
