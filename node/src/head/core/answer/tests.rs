//! Every format's calls, however the text is cut; nothing lost, nothing that panics.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::super::format::THINK;
use super::*;

const FORMATS: &[ToolFormat] = &[
    ToolFormat::Hermes,
    ToolFormat::QwenXml,
    ToolFormat::Glm,
    ToolFormat::Llama3,
    ToolFormat::Mistral,
    ToolFormat::MistralNamed,
    ToolFormat::TagArray,
    ToolFormat::Functionary,
    ToolFormat::DeepSeek,
    ToolFormat::Kimi,
    ToolFormat::MiniMax,
    ToolFormat::CommandR,
    ToolFormat::Harmony,
    ToolFormat::Plain,
];

fn rules(format: ToolFormat) -> Rules {
    let schema = json!({
        "type": "object",
        "properties": { "city": { "type": "string" }, "days": { "type": "integer" } },
    });
    Rules {
        format,
        taught: false,
        thinking: THINK,
        tools: Some(Offered::new([
            ("weather".to_owned(), schema),
            ("time".to_owned(), json!({ "type": "object" })),
        ])),
        max_calls: u32::MAX,
    }
}

/// What a reader of the whole stream has in the end.
#[derive(Debug, Default, PartialEq, Clone)]
struct Read {
    text: String,
    reasoning: String,
    calls: Vec<(String, String)>,
}

impl Read {
    fn take(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text.push_str(&text),
                Piece::Reasoning(text) => self.reasoning.push_str(&text),
                Piece::Call { index, name } => {
                    assert_eq!(index as usize, self.calls.len(), "calls come in order");
                    self.calls.push((name, String::new()));
                }
                Piece::Arguments { index, text } => {
                    assert_eq!(index as usize + 1, self.calls.len(), "of the latest call");
                    self.calls.last_mut().unwrap().1.push_str(&text);
                }
            }
        }
    }
}

fn read_cut(rules: Rules, text: &str, cuts: &[usize]) -> Read {
    let mut parser = AnswerParser::new(rules);
    let mut read = Read::default();
    let mut start = 0;
    for &cut in cuts {
        let mut end = cut.clamp(start, text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        read.take(parser.push(&text[start..end]));
        start = end;
    }
    read.take(parser.push(&text[start..]));
    read.take(parser.finish());
    read
}

fn read(format: ToolFormat, text: &str) -> Read {
    let whole = read_cut(rules(format), text, &[]);
    let each: Vec<usize> = (0..text.len()).collect();
    assert_eq!(
        read_cut(rules(format), text, &each),
        whole,
        "letter by letter: {text:?}"
    );
    whole
}

fn expect(text: &str, calls: &[(&str, &str)]) -> Read {
    Read {
        text: text.to_owned(),
        reasoning: String::new(),
        calls: calls
            .iter()
            .map(|(n, a)| ((*n).to_owned(), (*a).to_owned()))
            .collect(),
    }
}

const PARIS: &str = "{\"city\": \"Paris\"}";

#[test]
fn hermes() {
    let call =
        format!("<tool_call>\n{{\"name\": \"weather\", \"arguments\": {PARIS}}}\n</tool_call>");
    assert_eq!(
        read(ToolFormat::Hermes, &call),
        expect("", &[("weather", PARIS)])
    );
    assert_eq!(
        read(
            ToolFormat::Hermes,
            &format!("Let me see.\n{call}\n{call}\n")
        ),
        expect("Let me see.", &[("weather", PARIS), ("weather", PARIS)])
    );
    let unclosed = call.trim_end_matches("</tool_call>");
    assert_eq!(
        read(ToolFormat::Hermes, unclosed),
        expect("", &[("weather", PARIS)])
    );
}

#[test]
fn arguments_before_the_name_wait_for_it() {
    let text = format!("<tool_call>{{\"arguments\": {PARIS}, \"name\": \"weather\"}}</tool_call>");
    assert_eq!(
        read(ToolFormat::Hermes, &text),
        expect("", &[("weather", PARIS)])
    );
    let text =
        "<tool_call>{\"name\": \"weather\", \"arguments\": \"{\\\"city\\\": \\\"Rome\\\"}\"}";
    assert_eq!(
        read(ToolFormat::Hermes, text),
        expect("", &[("weather", "{\"city\": \"Rome\"}")])
    );
    let text =
        "<tool_call>{\"type\":\"function\",\"function\":{\"name\":\"time\",\"arguments\":{}}}";
    assert_eq!(
        read(ToolFormat::Hermes, text),
        expect("", &[("time", "{}")])
    );
}

#[test]
fn malformed_calls_are_text() {
    for text in [
        "<tool_call>\nweather(Paris)\n</tool_call>",
        "<tool_call>{\"name\": \"weather\", \"argum",
        "<tool_call>{\"name\": 7}</tool_call>",
        "a < b, <tool and <tool_cal",
        "<function=>{}</function>",
        "```json\n{\"answer\": 42}\n```",
        "{\"name\": \"nobody\", \"arguments\": {}}",
        "[1] and [2], {x}",
        "<tool_call>[]</tool_call>",
    ] {
        assert_eq!(read(ToolFormat::Hermes, text), expect(text, &[]), "{text}");
    }
}

#[test]
fn a_call_that_breaks_in_its_arguments_loses_nothing() {
    let text = "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": oops}}</tool_call>";
    let read = read(ToolFormat::Hermes, text);
    assert_eq!(
        read.calls,
        [("weather".to_owned(), "{\"city\": ".to_owned())]
    );
    assert_eq!(read.text, "oops}}</tool_call>");
}

#[test]
fn qwen_coder() {
    let text = "I look.\n<tool_call>\n<function=weather>\n<parameter=city>\nParis \"Nord\"\n</parameter>\n\
                <parameter=days>\n3\n</parameter>\n</function>\n</tool_call>";
    let arguments = "{\"city\": \"Paris \\\"Nord\\\"\", \"days\": 3}";
    assert_eq!(
        read(ToolFormat::QwenXml, text),
        expect("I look.", &[("weather", arguments)])
    );
    let bare = "<function=time>\n</function>";
    assert_eq!(
        read(ToolFormat::QwenXml, bare),
        expect("", &[("time", "{}")])
    );
}

#[test]
fn glm_and_minimax() {
    let text =
        "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>";
    assert_eq!(
        read(ToolFormat::Glm, text),
        expect("", &[("weather", PARIS)])
    );
    let text = "<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter name=\"city\">Paris</parameter>\n\
                </invoke>\n</minimax:tool_call>";
    assert_eq!(
        read(ToolFormat::MiniMax, text),
        expect("", &[("weather", PARIS)])
    );
}

#[test]
fn llama() {
    let call = format!("{{\"name\": \"weather\", \"parameters\": {PARIS}}}");
    for text in [call.clone(), format!("<|python_tag|>{call}")] {
        assert_eq!(
            read(ToolFormat::Llama3, &text),
            expect("", &[("weather", PARIS)])
        );
    }
    let two = format!("{call}; {call}");
    let twice = [("weather", PARIS), ("weather", PARIS)];
    assert_eq!(read(ToolFormat::Llama3, &two), expect("", &twice));
}

#[test]
fn mistral() {
    let text = format!(
        "[TOOL_CALLS][{{\"name\": \"weather\", \"arguments\": {PARIS}, \"id\": \"abc123DEF\"}}]"
    );
    assert_eq!(
        read(ToolFormat::Mistral, &text),
        expect("", &[("weather", PARIS)])
    );
    let text = format!(
        "Sure.[TOOL_CALLS]weather[ARGS]{PARIS}[TOOL_CALLS]time[CALL_ID]123456789[ARGS]{{}}"
    );
    assert_eq!(
        read(ToolFormat::MistralNamed, &text),
        expect("Sure.", &[("weather", PARIS), ("time", "{}")])
    );
}

#[test]
fn granite_functionary_command_r() {
    let text = format!("<|tool_call|>[{{\"name\": \"weather\", \"arguments\": {PARIS}}}]");
    assert_eq!(
        read(ToolFormat::TagArray, &text),
        expect("", &[("weather", PARIS)])
    );
    let text = format!("<function=weather>{PARIS}</function>");
    assert_eq!(
        read(ToolFormat::Functionary, &text),
        expect("", &[("weather", PARIS)])
    );
    let text = format!(
        "<|START_ACTION|>[\n{{\"tool_call_id\": \"0\", \"tool_name\": \"weather\", \"parameters\": {PARIS}}}\n]<|END_ACTION|>"
    );
    assert_eq!(
        read(ToolFormat::CommandR, &text),
        expect("", &[("weather", PARIS)])
    );
    let text = "<|START_RESPONSE|>Hello.<|END_RESPONSE|>";
    assert_eq!(read(ToolFormat::CommandR, text), expect("Hello.", &[]));
}

#[test]
fn deepseek_and_kimi() {
    let text = format!(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{PARIS}\n```<｜tool▁call▁end｜>\n\
         <｜tool▁call▁begin｜>time<｜tool▁sep｜>{{}}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    );
    let calls = [("weather", PARIS), ("time", "{}")];
    assert_eq!(read(ToolFormat::DeepSeek, &text), expect("", &calls));
    let text = format!(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{PARIS}\
         <|tool_call_end|><|tool_call_begin|>functions.time:1<|tool_call_argument_begin|>{{}}<|tool_call_end|>\
         <|tool_calls_section_end|>"
    );
    assert_eq!(read(ToolFormat::Kimi, &text), expect("", &calls));
}

#[test]
fn harmony() {
    let text = format!(
        "<|channel|>analysis<|message|>Hm, Paris.<|end|><|start|>assistant<|channel|>commentary to=functions.weather \
         <|constrain|>json<|message|>{PARIS}<|call|>"
    );
    let mut expected = expect("", &[("weather", PARIS)]);
    expected.reasoning = "Hm, Paris.".into();
    assert_eq!(read(ToolFormat::Harmony, &text), expected);
    let text = "<|channel|>final<|message|>It rains.<|return|>";
    assert_eq!(read(ToolFormat::Harmony, text), expect("It rains.", &[]));
    assert_eq!(read(ToolFormat::Harmony, "Plain."), expect("Plain.", &[]));
}

#[test]
fn json_that_stands_alone() {
    let call = format!("{{\"name\": \"weather\", \"arguments\": {PARIS}}}");
    for text in [
        call.clone(),
        format!("[{call}]"),
        format!("```json\n{call}\n```"),
        format!("```\n[{call}]\n```"),
    ] {
        assert_eq!(
            read(ToolFormat::Plain, &text),
            expect("", &[("weather", PARIS)]),
            "{text}"
        );
    }
    let text = format!("Here you are:\n{call}");
    assert_eq!(
        read(ToolFormat::Plain, &text),
        expect("Here you are:", &[("weather", PARIS)])
    );
}

#[test]
fn reasoning_is_told_from_text() {
    let mut expected = expect("Yes.", &[]);
    expected.reasoning = "Is it?\nIt is.".into();
    assert_eq!(
        read(
            ToolFormat::Hermes,
            "<think>\nIs it?\nIt is.\n</think>\n\nYes."
        ),
        expected
    );
    let mut primed = AnswerParser::new(rules(ToolFormat::Hermes));
    primed.prime("<think>");
    let mut got = Read::default();
    got.take(primed.push("\nIs it?\nIt is.\n</thi"));
    got.take(primed.push("nk>\nYes."));
    got.take(primed.finish());
    assert_eq!(got, expected);
    let late = "I <think> so.";
    assert_eq!(read(ToolFormat::Hermes, late), expect(late, &[]));
}

#[test]
fn without_tools_nothing_is_a_call_and_nothing_is_held() {
    let text = "<tool_call>{\"name\": \"weather\", \"arguments\": {}}</tool_call>  \n";
    let mut without = rules(ToolFormat::Hermes);
    without.tools = None;
    assert_eq!(read_cut(without.clone(), text, &[]), expect(text, &[]));
    let mut parser = AnswerParser::new(without);
    assert_eq!(parser.push("{\"a"), [Piece::Text("{\"a".into())]);
}

#[test]
fn arguments_stream() {
    let mut parser = AnswerParser::new(rules(ToolFormat::Hermes));
    let begun = parser.push("<tool_call>{\"name\": \"weather\", \"arguments\": {\"ci");
    assert_eq!(
        begun,
        [
            Piece::Call {
                index: 0,
                name: "weather".into()
            },
            Piece::Arguments {
                index: 0,
                text: "{\"ci".into()
            }
        ]
    );
    assert_eq!(
        parser.push("ty\""),
        [Piece::Arguments {
            index: 0,
            text: "ty\"".into()
        }]
    );
}

#[test]
fn one_call_where_one_is_wanted() {
    let mut one = rules(ToolFormat::Hermes);
    one.max_calls = 1;
    let text = "<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>\n<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
    assert_eq!(read_cut(one, text, &[]), expect("", &[("time", "{}")]));
}

/// Fragments from which answers are made that are nearly right.
const FRAGMENTS: &[&str] = &[
    "<tool_call>",
    "</tool_call>",
    "<function=",
    "weather",
    "time",
    ">",
    "<parameter=",
    "city",
    "</parameter>",
    "</function>",
    "{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}",
    "{\"name\": \"time\", ",
    "\"arguments\": {}",
    "}",
    "{",
    "[",
    "]",
    ",",
    ";",
    "\"",
    " ",
    "\n",
    "Hello",
    "é",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "<|tool_call|>",
    "<|python_tag|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "function",
    "```json\n",
    "```",
    "<think>",
    "</think>",
    "<|channel|>",
    "final",
    "analysis",
    "commentary to=functions.weather",
    "<|message|>",
    "<|end|>",
    "<|start|>assistant",
    "<|call|>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<invoke name=\"",
    "\">",
    "<parameter name=\"",
    "</invoke>",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    "<|tool_call_begin|>",
    "functions.time:0",
    "<|tool_call_argument_begin|>",
    "\\",
    "\\u00e9",
    "1.5",
    "<|START_RESPONSE|>",
    "<minimax:tool_call>",
    "                                                                        ",
];

fn nearly() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(FRAGMENTS), 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn cuts_do_not_matter(
        format in prop::sample::select(FORMATS),
        text in nearly(),
        mut cuts in prop::collection::vec(0_usize..400, 0..8),
    ) {
        cuts.sort_unstable();
        let whole = read_cut(rules(format), &text, &[]);
        prop_assert_eq!(read_cut(rules(format), &text, &cuts), whole.clone());
        let each: Vec<usize> = (0..text.len()).collect();
        prop_assert_eq!(read_cut(rules(format), &text, &each), whole);
    }

    #[test]
    fn garbage_never_panics(format in prop::sample::select(FORMATS), text in "\\PC{0,80}") {
        read_cut(rules(format), &text, &[]);
    }

    /// Where no call was found, all that was written is given, but for the markers of reasoning
    /// and channels.
    #[test]
    fn nothing_is_lost(text in nearly()) {
        let read = read_cut(rules(ToolFormat::Hermes), &text, &[]);
        if read.calls.is_empty() && !text.trim_start().starts_with("<think>") {
            prop_assert_eq!(read.text, text);
        }
    }
}
