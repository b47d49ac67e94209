"""The application: it names a label, so what it sends changes when the label moves, and not before."""

from llmops import load_prompt


def messages(question, pages):
    """What to send to the model for a customer's question."""
    return load_prompt("support/reply@production").render(question=question, contexts=pages)


if __name__ == "__main__":
    for message in messages("Where is my parcel?", ["A parcel arrives within three working days."]):
        print(f"{message['role']}: {message['content']}\n")
