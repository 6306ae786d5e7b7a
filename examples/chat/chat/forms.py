import unicodedata
from typing import Any

from django import forms
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.password_validation import validate_password
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils.text import slugify

from . import names
from .models import Message, Room

User = get_user_model()

TAKEN = "That name is taken. If it is yours, enter its password."


def one_line(value: str) -> str:
    """Return ``value`` with its white space made plain; refuse what nobody can see."""
    value = " ".join(value.split())
    if not value.isprintable():
        raise forms.ValidationError("Please leave out the invisible characters.")
    return value


class NameForm(forms.Form):
    """Sign up and log in at once: a free name becomes yours, a name with a password asks for it.

    Stands in the place of Django's ``AuthenticationForm``, for ``LoginView``.
    """

    name = forms.CharField(
        max_length=30,
        error_messages={"required": "Please choose a name."},
        widget=forms.TextInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        required=False, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.user: AbstractBaseUser | None = None

    def clean_name(self) -> str:
        name = one_line(User.normalize_username(self.cleaned_data["name"]))
        if not any(character.isalnum() for character in name):
            raise forms.ValidationError("A name needs at least one letter or digit.")
        return name

    def clean(self) -> None:
        name, password = self.cleaned_data.get("name"), self.cleaned_data.get("password")
        if name is None:
            return
        known = User.objects.filter(username__iexact=name).first()
        if known is None:
            self.user = self._sign_up(name, password)
        elif not known.has_usable_password():
            self.user = self._come_back(known, password)
        elif password:
            self.user = authenticate(self.request, username=known.get_username(), password=password)
        if self.user is None and not self.errors:
            self.add_error("name", TAKEN)

    def _sign_up(self, name: str, password: str | None) -> AbstractBaseUser | None:
        """Keep a new name; without a password only this browser has it."""
        user = User(username=name)
        if not self._is_good(password, user):
            return None
        user.set_password(password or None)
        try:
            with transaction.atomic():  # in SQLite one at a time, so that not even another spelling comes between
                if User.objects.filter(username__iexact=name).exists():
                    return None
                user.save()
        except IntegrityError:  # somebody else has just taken it
            return None
        return user

    def _come_back(self, user: AbstractBaseUser, password: str | None) -> AbstractBaseUser | None:
        """Give a name without a password to the browser that chose it; with a password it is theirs from now on."""
        if user.pk not in names.kept(self.request) or not self._is_good(password, user):
            return None
        if password:
            user.set_password(password)
            user.save()
        return user

    def _is_good(self, password: str | None, user: AbstractBaseUser) -> bool:
        try:
            if password:
                validate_password(password, user)
        except forms.ValidationError as error:
            self.add_error("password", error)
            return False
        return True

    def get_user(self) -> AbstractBaseUser | None:
        """Return the user to log in, for ``LoginView``."""
        return self.user


class RoomForm(forms.Form):
    use_required_attribute = False  # an empty name gets our words, not the browser's

    name = forms.CharField(label="Room name", max_length=40, error_messages={"required": "Give the room a name first."})

    def clean_name(self) -> str:
        name = one_line(self.cleaned_data["name"])
        if not self._slug(name):
            raise forms.ValidationError("A room name needs at least one letter or digit.")
        return name

    def get_room(self) -> Room:
        """Return the room of that name; a new one if there is none.

        Several names may make one slug, as C, C++ and C# do: the second one gets a number behind it, and so on.
        """
        name, number = self.cleaned_data["name"], 1
        while True:
            suffix = f"-{number}" if number > 1 else ""
            slug = self._slug(name)[: 40 - len(suffix)] + suffix
            room, _ = Room.objects.get_or_create(slug=slug, defaults={"name": name})
            if self._is_same(room.name, name):
                return room
            number += 1

    @staticmethod
    def _slug(name: str) -> str:
        return slugify(name, allow_unicode=True)[:40].strip("-_")

    @staticmethod
    def _is_same(one: str, other: str) -> bool:
        """Whether two names differ in nothing but capitals and in how their accents are encoded."""
        return unicodedata.normalize("NFC", one).casefold() == unicodedata.normalize("NFC", other).casefold()


class MessageForm(forms.ModelForm):
    """What somebody says."""

    text = forms.CharField(max_length=1000, strip=False)

    class Meta:
        model = Message
        fields = ("text", "key")

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"].rstrip().lstrip("\n")  # the space that indents its first line stays
        if not text:
            raise forms.ValidationError("There is nothing to say in it.")
        if any("\ud800" <= character <= "\udfff" for character in text):  # JSON can say it, UTF-8 and databases cannot
            raise forms.ValidationError("Half a character cannot be kept.")
        return text


class PageForm(forms.Form):
    """Which messages: those before an id, or simply the newest."""

    before = forms.IntegerField(required=False, min_value=0)
