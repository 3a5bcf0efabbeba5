"""Delimiters, chat templates and runaways: what is kept and what is dropped; most of the texts are real."""

import json

import pytest

from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.filters.markers import delimiter, runaway
from sft_pipeline.experiment import Quality

QUALITY = Quality()
NOTHING = Continuations()


def row(response: str, instruction: str = "Say something.") -> dict[str, str]:
    return {"instruction": instruction, "response": response, "type": "all"}


@pytest.mark.parametrize(
    "text",
    [
        "Use <b>bold</b> and a[0].",
        "The ### heading",
        "### Response times\nThey vary.",
        "a < b | c > d",
        "[Start] -> Load -> [END]",
        "The story comes to its end of the example.",
        "std::vector<int> v; // end of loop",
        "They lived happily ever after.\n\nThe End",
    ],
)
def test_a_text_that_looks_a_little_like_a_format_is_kept(text):
    assert delimiter(row(text), QUALITY, NOTHING) is None


@pytest.mark.parametrize(
    "given",
    [
        row("Paris.###END###"),
        row("Hi<|im_end|>"),
        row("Hi", "[INST] Greet [/INST]"),
        row("Hi<|start_header_id|>user<|end_header_id|>"),
        row("<start_of_turn>model\nHi<end_of_turn>"),
        row("Hi", "<<SYS>>Be kind.<</SYS>> Greet."),
        row("Hi<eos>"),
        row("Hi<｜end▁of▁sentence｜>"),
        row("Paris.\n\n### Instruction:\nName the capital of Peru."),
        row("The countries are Iran and Iraq. \n// end of output //"),
        row("It grows.\n// end of the output.//"),
        row("They reach 1,000 degrees.\n//EOM//"),
        row("They increase output.//EOM//"),
    ],
)
def test_a_marker_of_a_training_format_is_dropped_with_the_text_around_it(given):
    hit = delimiter(given, QUALITY, NOTHING)
    assert hit and hit.matched in given["instruction"] + given["response"]
    assert delimiter(given, Quality(delimiters=()), NOTHING) is None


@pytest.mark.parametrize(
    "given",
    [
        row("User: Hi\nBot: Hello.\nUser: Bye."),
        row("Q: What is a cow?\nA: An animal.\n\nQ: And grass?\nA: A plant."),
        row('"\nQ & A # 1\nQ: What?\nA: That.\n\nQ & A # 2\nQ: Why?\nA: So.\n"', "Give me 2 Q and As in this format."),
        row("1. Q: Why?\nA: So.\n2. Q: How?\nA: Thus."),
        row("Topic: Travel\nQuestion: Where would you like to go?"),
        row("A long answer. " * 400),
        row("1. Read the question.\n2. Answer it."),
        row("Instruction: List adjectives.\nInput: Halloween\n\nOutput: Spooky.", "Create a task for a model."),
        row("def f(x):\n    return x\n\nprint(f(1))\n\nOutput:\n1"),
        row("Ingredients: rice\n\nInstructions:\n1. Boil it."),
    ],
)
def test_a_dialogue_a_form_and_a_long_answer_are_no_runaways(given):
    assert runaway(given, QUALITY, NOTHING) is None


@pytest.mark.parametrize(
    "given",
    [
        row("Paris.\nInstruction: Name the capital of Peru.\nResponse: Lima."),
        row("She watered the flowers.\n\n\n6. Instruction: Generate an ending to a story.\n6. Input:\n<noinput>"),
        row("4\nQuestion: What is 3 + 3?"),
        row("Answer: 4\nQuestion: What is 3 + 3?"),
        row("Sure.\n\nUser: thanks\nAssistant: welcome"),
        row("Sure.\n\n**User:** thanks"),
        row("Sure.\nUSER: thanks\nASSISTANT: welcome"),
        row("4\n### Question: What is 3 + 3?"),
        row("Barcelona, Spain\n\nInput: Madrid, Spain\nOutput: Madrid, Spain"),
    ],
)
def test_a_response_that_goes_on_to_a_new_prompt_is_dropped_from_there_on(given):
    hit = runaway(given, QUALITY, NOTHING)
    assert hit and given["response"].endswith(hit.matched) and hit.matched != given["response"]
    assert runaway(given, Quality(runaway_markers=()), NOTHING) is None


@pytest.mark.real_data
def test_a_base_model_runs_away_and_its_tuned_self_does_not(real_data):
    found = {}
    for name in ("davinci", "davinci-self-instruct"):
        path = real_data / "self-instruct" / "predictions" / f"{name}_predictions.jsonl"
        outputs = [json.loads(line)["response"] for line in path.read_text(encoding="utf-8").splitlines()]
        texts = [output["choices"][0]["text"] if isinstance(output, dict) else output for output in outputs]
        found[name] = sum(runaway(row(text), QUALITY, NOTHING) is not None for text in texts)
    assert found["davinci"] >= 130
    assert found["davinci-self-instruct"] == 0
