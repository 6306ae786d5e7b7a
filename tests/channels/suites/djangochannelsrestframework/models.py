"""Models of the tests."""

from django.db import models


class TestModel(models.Model):
    __test__ = False

    name = models.CharField(max_length=100)


class TestModelWithCustomPK(models.Model):
    __test__ = False

    name = models.CharField(max_length=100, primary_key=True)
    description = models.CharField(max_length=100, blank=True)
