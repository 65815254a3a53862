"""What stands as JSON beside tables: understood as its model, or refused with its first fault."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sidcurate.errors import IntegrityError

Model = TypeVar("Model", bound=BaseModel)


def understood(model: type[Model], content: bytes, where: object, cure: str) -> Model:
    """Return a statement from its bytes.

    Args:
        model: what it states.
        content: the bytes.
        where: what the file is called in messages.
        cure: what to do about one that cannot be understood.

    Raises:
        IntegrityError: it cannot.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise IntegrityError(f"{where}: {field}: {first['msg']}; {cure}") from error
